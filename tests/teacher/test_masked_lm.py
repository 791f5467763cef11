import shutil

import pytest
import torch
from small_bert import (
    METASPACE,
    SPECIAL,
    save_model,
    save_sentencepiece,
    save_small_bert,
    save_wordpiece,
)

from gmot.common import GmotError
from gmot.teacher import MaskedLanguageModel, Teacher
from gmot.text.units import Characters

transformers = pytest.importorskip("transformers")

CHARACTERS = "今天气好不他她们说"
TEXTS = ["今天天气好", "他说", "她们今天不说好气", "好", "", "他龘说", "今天天气好"]
SIZES = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=16,
    initializer_range=0.5,
)
VOCAB_SIZE = len(CHARACTERS) + len(SPECIAL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small WordPiece BERT with random weights and a masked-LM head."""
    folder = tmp_path_factory.mktemp("mlm")
    return save_small_bert(folder, CHARACTERS, "BertForMaskedLM", **SIZES)


def by_hand(folder, text):
    """Each position masked by itself, with nothing of ours."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    return by_hand_with(model, tokenizer, text)


def by_hand_with(model, tokenizer, text):
    ids = tokenizer(text, return_tensors="pt").input_ids
    total = 0.0
    for position in range(1, ids.size(1) - 1):
        masked = ids.clone()
        masked[0, position] = tokenizer.mask_token_id
        with torch.no_grad():
            log_probs = model(masked).logits[0, position].log_softmax(-1)
        total += float(log_probs[ids[0, position]])
    return total


def test_scores_are_pseudo_log_likelihoods(folder):
    found = MaskedLanguageModel(folder).score(TEXTS)
    assert found == pytest.approx([by_hand(folder, text) for text in TEXTS], abs=1e-4)
    assert found[4] == 0.0 and len(set(found)) == len(set(TEXTS))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_and_padding_change_nothing(folder, batch_size):
    together = MaskedLanguageModel(folder).score(TEXTS)
    model = MaskedLanguageModel(folder, batch_size=batch_size)
    assert model.score(TEXTS) == pytest.approx(together, rel=1e-5)
    assert [model.score([text])[0] for text in TEXTS] == pytest.approx(together, rel=1e-5)


def test_a_text_is_scored_once(folder):
    model = MaskedLanguageModel(folder)
    first = model.score(TEXTS)
    model._model = None  # it is not asked again
    assert model.score(TEXTS[::-1]) == first[::-1]


def test_models_that_cannot_score_are_refused_with_their_reason(folder, tmp_path):
    """No head, no mask token, a mask token outside the model, another architecture."""
    bare, maskless, added, causal = (
        shutil.copytree(folder, tmp_path / name) for name in ("bare", "maskless", "added", "causal")
    )
    transformers.BertModel.from_pretrained(folder).save_pretrained(bare)
    save_wordpiece(maskless, CHARACTERS, mask_token=None)
    save_wordpiece(added, CHARACTERS, mask_token="[HOLE]")
    config = transformers.GPT2Config(vocab_size=14, n_embd=16, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(causal)
    for path, fact in ((bare, "cls"), (maskless, "mask"), (added, "14"), (causal, "gpt2")):
        with pytest.raises(GmotError, match=f"plm-rescoring.*{path.name}.*{fact}"):
            MaskedLanguageModel(path)
    with pytest.raises(GmotError, match="config.json"):
        MaskedLanguageModel(tmp_path)


def test_texts_that_are_too_long_are_refused(folder):
    with pytest.raises(GmotError, match="14 .*15"):
        MaskedLanguageModel(folder).score(["好" * 15])
    assert MaskedLanguageModel(folder).score(["好" * 14])[0] < 0


def test_a_model_saved_with_the_head_can_teach(folder):
    assert Teacher(folder).encode(["今天好"], Characters())[0].shape == (5, 16)


def test_an_unknown_word_that_a_decoder_writes_is_one_token(folder):
    model = MaskedLanguageModel(folder)
    assert model.score(["他<unk>说"]) == pytest.approx([by_hand(folder, "他龘说")], abs=1e-4)


def test_positions_that_begin_after_the_padding_index(folder, tmp_path):
    """RoBERTa's: of 16 positions one is lost, and the two ends take two."""
    roberta = tmp_path / "roberta"
    shutil.copytree(folder, roberta)
    config = transformers.RobertaConfig(
        **SIZES,
        vocab_size=VOCAB_SIZE,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    transformers.RobertaForMaskedLM(config).save_pretrained(roberta)
    model = MaskedLanguageModel(roberta)
    assert model.score(["好" * 13])[0] < 0
    with pytest.raises(GmotError, match="13 .*14"):
        model.score(["好" * 14])


def test_damaged_weights_are_not_taken_for_a_missing_head(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    weights = load_file(damaged / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.bias"]
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GmotError, match="damaged.* 1 .*layer.1.output"):
        MaskedLanguageModel(damaged)
    (damaged / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(GmotError, match="damaged"):
        MaskedLanguageModel(damaged)


def test_the_mark_before_a_sentence_is_fed_but_not_scored(tmp_path):
    """SentencePiece models: ``<s> U+2581 pieces </s>``, characters by themselves."""
    pieces = save_sentencepiece(
        tmp_path, ["<mask>", *CHARACTERS, "今天"], mask_token="<mask>", model_max_length=16
    )
    save_model(tmp_path, len(pieces), "BertForMaskedLM", **SIZES, pad_token_id=1)
    model = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[pieces.index(p) for p in ("<s>", METASPACE, "今", "天", "好", "</s>")]])
    expected = 0.0
    for position in (2, 3, 4):
        masked = ids.clone()
        masked[0, position] = pieces.index("<mask>")
        with torch.no_grad():
            log_probs = model(masked).logits[0, position].log_softmax(-1)
        expected += float(log_probs[ids[0, position]])
    found = MaskedLanguageModel(tmp_path).score(["今天好", "好"])
    assert found[0] == pytest.approx(expected, abs=1e-4)


def test_a_head_whose_product_is_no_module(folder, tmp_path):
    """MobileBERT multiplies by itself: all positions come, and the right one is read."""
    mobile = tmp_path / "mobile"
    shutil.copytree(folder, mobile)
    torch.manual_seed(0)
    sizes = dict(embedding_size=8, intra_bottleneck_size=8, num_feedforward_networks=1)
    config = transformers.MobileBertConfig(**SIZES, **sizes, vocab_size=VOCAB_SIZE)
    model = transformers.MobileBertForMaskedLM(config).eval()
    model.save_pretrained(mobile)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text, found in zip(TEXTS, MaskedLanguageModel(mobile).score(TEXTS)):
        assert found == pytest.approx(by_hand_with(model, tokenizer, text), abs=1e-3)
