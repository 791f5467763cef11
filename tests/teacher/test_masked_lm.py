import shutil

import pytest
import torch

from gmot.common import GmotError
from gmot.teacher import MaskedLanguageModel, Teacher

transformers = pytest.importorskip("transformers")

CHARACTERS = "今天气好不他她们说"
TEXTS = ["今天天气好", "他说", "她们今天不说好气", "好", "", "他龘说", "今天天气好"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small WordPiece BERT with random weights and a masked-LM head."""
    folder = tmp_path_factory.mktemp("mlm")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        initializer_range=0.5,
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    return folder


def by_hand(folder, text):
    """Each position masked by itself, with nothing of ours."""
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
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
    assert model.score(TEXTS) == pytest.approx(together, abs=1e-4)
    assert [model.score([text])[0] for text in TEXTS] == pytest.approx(together, abs=1e-4)


def test_a_text_is_scored_once(folder):
    model = MaskedLanguageModel(folder)
    first = model.score(TEXTS)
    model._model = None  # it is not asked again
    assert model.score(TEXTS[::-1]) == first[::-1]


def test_a_model_without_the_head_is_refused(folder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    transformers.BertModel.from_pretrained(folder).save_pretrained(bare)
    with pytest.raises(GmotError, match="plm-rescoring needs.*bare has none.*cls"):
        MaskedLanguageModel(bare)
    with pytest.raises(GmotError, match="no config.json"):
        MaskedLanguageModel(tmp_path)


def test_a_tokenizer_without_a_mask_is_refused(folder, tmp_path):
    maskless = tmp_path / "maskless"
    shutil.copytree(folder, maskless)
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), mask_token=None)
    tokenizer.save_pretrained(maskless)
    with pytest.raises(GmotError, match="without a mask token"):
        MaskedLanguageModel(maskless)


def test_texts_that_are_too_long_are_refused(folder):
    with pytest.raises(GmotError, match="takes 16 tokens, this text has 17"):
        MaskedLanguageModel(folder).score(["好" * 15])
    assert MaskedLanguageModel(folder).score(["好" * 14])[0] < 0


def test_a_model_saved_with_the_head_can_teach(folder):
    assert Teacher(folder).encode(["今天好"])[0].shape == (5, 16)
