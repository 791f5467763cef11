"""Small BERTs with random weights, for tests that need a teacher."""

import json
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
METASPACE = "\u2581"
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def save_model(folder: Path, vocab_size: int, architecture: str = "BertModel", **sizes) -> Path:
    """Save a model of a class of transformers, with weights of seed 0."""
    import torch
    import transformers

    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=vocab_size, **{**SIZES, **sizes})
    getattr(transformers, architecture)(config).save_pretrained(folder)
    return folder


def save_wordpiece(folder: Path, pieces, **options) -> Path:
    """Save BERT's tokenizer of ``pieces``; ``options`` are those of transformers' class."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *pieces]) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "BertTokenizer", **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def save_sentencepiece(folder: Path, pieces, **options) -> list[str]:
    """Save a SentencePiece tokenizer that joins characters, as e5's; returns its vocabulary."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(exist_ok=True)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", METASPACE, *pieces]
    scores = [(piece, -1.0 - len(piece) / 10) for piece in vocabulary]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{**special, **options}
    ).save_pretrained(folder)
    return vocabulary


def save_small_bert(folder: Path, pieces, architecture: str = "BertModel", **sizes) -> Path:
    """Save a WordPiece tokenizer of ``pieces`` and a model."""
    save_wordpiece(folder, pieces)
    return save_model(folder, len(SPECIAL) + len(list(pieces)), architecture, **sizes)
