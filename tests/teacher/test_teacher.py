"""Teacher features against transformers called by hand, on small models made here."""

import json
import pickle

import pytest
import torch
from small_bert import METASPACE, save_model, save_sentencepiece, save_small_bert

from gmot.common import GmotError
from gmot.teacher import FeatureStore, Teacher, TeacherTokenizer, load_config, write_store
from gmot.text.units import Characters, Pieces

transformers = pytest.importorskip("transformers")

CHARACTERS = list("今天气很好中文他她在十一")
SENTENCES = ["今天天气很好", "他在", "中文", "她在十一", "今天", "好"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


@pytest.fixture
def wordpiece(tmp_path):
    """A BERT with a WordPiece tokenizer, as bert-base-chinese is."""
    return save_small_bert(tmp_path / "bert", [*CHARACTERS, "ab", "##c"], **SIZES)


@pytest.fixture
def sentencepiece(tmp_path):
    """A BERT with a SentencePiece tokenizer that joins characters, as e5's does."""
    pieces = [*CHARACTERS, "A", "今天", "天气", "中文"]
    vocabulary = save_sentencepiece(tmp_path / "e5", pieces, model_max_length=40)
    return save_model(tmp_path / "e5", len(vocabulary), pad_token_id=1, **SIZES)


@pytest.fixture(params=["wordpiece", "sentencepiece"])
def folder(request):
    return request.getfixturevalue(request.param)


def by_hand(folder, pieces, layer):
    """Hidden states (L, D) of one sentence of pieces, [CLS] and so on among them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    ids = torch.tensor([[tokenizer.get_vocab()[piece] for piece in pieces]])
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states[layer][0]


def names(folder, text):
    """Pieces of a text, with what they cover of it."""
    plain = transformers.AutoTokenizer.from_pretrained(folder)
    return [
        (plain.convert_ids_to_tokens(i), text[start:end])
        for i, start, end in TeacherTokenizer(folder).pieces(text)
    ]


def test_pieces_of_a_wordpiece_tokenizer_are_its_own(wordpiece):
    found = names(wordpiece, "今天ABC好")
    assert found == [("今", "今"), ("天", "天"), ("ab", "AB"), ("##c", "C"), ("好", "好")]
    units = Pieces(TeacherTokenizer(wordpiece))
    assert units.tokenize("今天ABC好") == ["今", "天", "▁AB", "C", "好"]
    assert units.tokenize("今龘天") == ["今", "<unk>", "天"]
    assert units.unknown("今龘天 鑫龘") == ["龘", "鑫", "龘"]


def test_pieces_of_a_sentencepiece_tokenizer_are_characters(sentencepiece):
    plain = transformers.AutoTokenizer.from_pretrained(sentencepiece)
    assert "今天" in plain.tokenize("今天天气")  # it joins them, so the test means something
    units = Pieces(TeacherTokenizer(sentencepiece))
    assert units.tokenize("今天天气A") == ["今", "天", "天", "气", "▁A"]
    assert units.tokenize("今龘天") == ["今", "<unk>", "天"]
    assert units.unknown("今龘天 鑫龘") == ["龘", "鑫", "龘"]


@pytest.mark.parametrize("layer", [0, 2, 4, "last"])
def test_features_are_the_hidden_states_of_the_layer(wordpiece, sentencepiece, layer):
    expected_layer = 4 if layer == "last" else layer
    pieces = ["今", "天", "天", "气"]

    (features,) = Teacher(wordpiece, layer).encode(["今天天气"], Characters())
    expected = by_hand(wordpiece, ["[CLS]", *pieces, "[SEP]"], expected_layer)
    torch.testing.assert_close(features, expected)

    (features,) = Teacher(sentencepiece, layer).encode(["今天天气"], Characters())
    expected = by_hand(sentencepiece, ["<s>", METASPACE, *pieces, "</s>"], expected_layer)
    torch.testing.assert_close(features, torch.cat([expected[:1], expected[2:]]))


def test_a_batch_is_its_sentences(folder):
    teacher = Teacher(folder, layer=3)
    together = teacher.encode(SENTENCES + ["龘今"], Characters())
    assert teacher.encode([], Characters()) == []
    for text, features in zip(SENTENCES + ["龘今"], together):
        assert features.shape == (len(text) + 2, 16)
        assert teacher.dim == 16
        assert features.dtype == torch.float32 and not features.requires_grad
        torch.testing.assert_close(
            features, teacher.encode([text], Characters())[0], atol=1e-5, rtol=1e-5
        )


def test_the_teacher_is_frozen(folder):
    teacher = Teacher(folder)
    first = teacher.encode(SENTENCES, Characters())
    assert not teacher._model.training
    assert not any(p.requires_grad for p in teacher._model.parameters())
    for a, b in zip(first, teacher.encode(SENTENCES, Characters())):  # no dropout
        assert torch.equal(a, b)


def test_no_global_state_is_changed(folder):
    transformers.logging.set_verbosity(transformers.logging.INFO)
    try:
        Teacher(folder)
        assert transformers.logging.get_verbosity() == transformers.logging.INFO
    finally:
        transformers.logging.set_verbosity(transformers.logging.WARNING)


def test_random_weights_are_the_control(folder):
    teacher, random = Teacher(folder, 2), Teacher(folder, 2, random_weights=True)
    torch.manual_seed(1234)  # what was drawn before does not matter
    state = torch.get_rng_state()
    again = Teacher(folder, 2, random_weights=True)
    assert torch.equal(torch.get_rng_state(), state)
    (a,), (b,), (c,) = (t.encode(["今天"], Characters()) for t in (teacher, random, again))
    assert torch.equal(b, c) and a.shape == b.shape
    assert (a - b).abs().max() > 0.1
    assert random.fingerprint == again.fingerprint != teacher.fingerprint


def test_the_fingerprint_covers_what_features_depend_on(folder):
    made = [Teacher(folder, 2), Teacher(folder, 3), Teacher(folder, 2, random_weights=True)]
    assert Teacher(folder, 2).fingerprint == made[0].fingerprint
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.0.attention.self.query.weight"][0, 0] += 0.01
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    made.append(Teacher(folder, 2))
    assert len({teacher.fingerprint for teacher in made}) == 4


def test_a_bin_file_is_as_good(folder):
    from safetensors.torch import load_file

    expected = Teacher(folder, 2)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = Teacher(folder, 2)
    assert found.fingerprint == expected.fingerprint
    assert torch.equal(*(t.encode(["今天"], Characters())[0] for t in (found, expected)))


def test_what_is_no_teacher_is_an_error(folder, tmp_path):
    with pytest.raises(GmotError, match="layer 5.* 4"):
        Teacher(folder, layer=5)
    with pytest.raises(GmotError, match="nothing"):
        Teacher(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GmotError, match="empty.*config.json"):
        TeacherTokenizer(tmp_path / "empty")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GmotError, match=" 1 .*layer.1.output.dense.bias"):
        Teacher(folder)
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(GmotError, match="model"):
        Teacher(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(GmotError, match="model.safetensors"):
        Teacher(folder)


def test_a_sentence_that_is_too_long_is_named(folder):
    teacher = Teacher(folder)
    # 40 positions: all pieces, the two ends, and what the tokenizer adds.
    assert teacher.max_tokens == 38
    longest = "今" * (38 - len(teacher.tokenizer.pieces("今")) + 1)
    (features,) = teacher.encode([longest], Characters())
    assert len(features) == len(longest) + 2
    with pytest.raises(GmotError, match="38 .*39.*今今"):
        teacher.encode([longest + "天"], Characters())


def test_a_store_gives_back_the_features(folder, tmp_path):
    teacher = Teacher(folder, layer=2)
    count = write_store(tmp_path / "store", teacher, Characters(), SENTENCES * 3, batch_size=4)
    store = FeatureStore(tmp_path / "store")
    assert count == len(store) == len(SENTENCES)
    assert (store.dim, store.fingerprint) == (16, teacher.fingerprint)
    for text in SENTENCES:
        assert text in store
        features = store.get(text)
        assert features.dtype == torch.float32
        rows = pickle.loads(pickle.dumps(store)).rows(text)
        assert rows.dtype == torch.float16 and torch.equal(rows.float(), features)
        torch.testing.assert_close(
            features, teacher.encode([text], Characters())[0], atol=2e-3, rtol=1e-3
        )
    assert "没有" not in store
    with pytest.raises(GmotError, match="'没有'"):
        store.get("没有")
    rows = sum(len(text) + 2 for text in SENTENCES)
    assert (tmp_path / "store" / "features.bin").stat().st_size == rows * 16 * 2


def test_features_beyond_half_precision_are_an_error_that_names_the_text(wordpiece, tmp_path):
    from safetensors.torch import load_file, save_file

    write_store(tmp_path / "store", Teacher(wordpiece), Characters(), ["今天"])
    weights = load_file(wordpiece / "model.safetensors")
    weights["encoder.layer.3.output.LayerNorm.weight"][5] = 1e5
    save_file(weights, wordpiece / "model.safetensors", metadata={"format": "pt"})
    teacher = Teacher(wordpiece)
    largest = teacher.encode(["他在"], Characters())[0].abs().max().item()
    assert largest > 65504
    with pytest.raises(GmotError) as error:
        write_store(tmp_path / "store", teacher, Characters(), ["他在"])
    message = str(error.value)
    for fact in ("'他在'", "layer 4 of 4", "65504", "--teacher-layer"):
        assert fact in message
    value = float(message.split("value ")[1].split()[0])
    assert 65504 < abs(value) <= largest * 1.001
    assert "今天" in FeatureStore(tmp_path / "store")  # what was there stays
    write_store(tmp_path / "store", Teacher(wordpiece, layer=3), Characters(), ["他在"])


def test_a_store_knows_its_layer_and_its_tokens(folder, tmp_path):
    for layer, number in (("last", 4), (2, 2)):
        teacher = Teacher(folder, layer)
        write_store(tmp_path / "store", teacher, Characters(), ["今天"])
        store = FeatureStore(tmp_path / "store")
        assert (store.layer, store.num_layers) == (number, 4)
        assert store.units == Characters().fingerprint
    assert (load_config(folder).hidden_size, load_config(folder).num_hidden_layers) == (16, 4)
    index = json.loads((tmp_path / "store" / "index.json").read_text(encoding="utf-8"))
    assert index["texts"] == {"今天": [0, 4]}
    pieces = Pieces(TeacherTokenizer(folder))
    write_store(tmp_path / "store", teacher, pieces, ["今天"])
    assert FeatureStore(tmp_path / "store").units == pieces.fingerprint


def test_a_missing_or_broken_store_is_an_error(folder, tmp_path):
    write_store(tmp_path / "store", Teacher(folder, layer=2), Characters(), SENTENCES)
    with pytest.raises(GmotError, match="nothing"):
        FeatureStore(tmp_path / "nothing")
    features = tmp_path / "store" / "features.bin"
    features.write_bytes(features.read_bytes()[:-2])
    with pytest.raises(GmotError, match="features.bin"):
        FeatureStore(tmp_path / "store")
    (tmp_path / "store" / "index.json").write_text("[]")
    with pytest.raises(GmotError, match="index.json"):
        FeatureStore(tmp_path / "store")


def test_a_store_is_written_whole_or_not_at_all(folder, tmp_path):
    teacher = Teacher(folder, layer=2)
    write_store(tmp_path / "store", teacher, Characters(), ["今天"])
    too_long = "今" * (teacher.max_tokens + 1)
    with pytest.raises(GmotError, match="今今"):
        write_store(tmp_path / "store", teacher, Characters(), ["他在", too_long], batch_size=1)
    assert "今天" in FeatureStore(tmp_path / "store")
    assert sorted(path.name for path in tmp_path.glob("*store*")) == [".shards-store", "store"]
    assert write_store(tmp_path / "store", teacher, Characters(), ["他在"]) == 1
    assert [path.name for path in tmp_path.glob("*store*")] == ["store"]
    with pytest.raises(GmotError, match="store"):
        write_store(tmp_path / "store", teacher, Characters(), [])
