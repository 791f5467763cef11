"""A small BERT with random weights, for tests that need a teacher."""

from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def save_small_bert(folder: Path, pieces, architecture: str = "BertModel", **sizes) -> Path:
    """Save a WordPiece tokenizer of ``pieces`` and a model of that class of transformers."""
    import torch
    import transformers

    folder.mkdir(exist_ok=True)
    vocabulary = [*SPECIAL, *pieces]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(vocabulary), **{**SIZES, **sizes})
    getattr(transformers, architecture)(config).save_pretrained(folder)
    return folder
