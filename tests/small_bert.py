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


def save_byte_pairs(folder: Path, merges=(), texts=(), vocab_size: int = 0) -> int:
    """Save a byte-level BPE tokenizer, as GPT-2's, of given merges or trained on texts; its size.

    A merge is two pieces with a space between them; ``\\u0120`` is a space of the text.
    """
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(exist_ok=True)
    end, alphabet = "<|endoftext|>", sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [tuple(merge.split(" ")) for merge in merges]
    pieces = [end, *alphabet, *("".join(pair) for pair in pairs)]
    model = models.BPE({piece: i for i, piece in enumerate(pieces)}, pairs)
    tokenizer = Tokenizer(model if pairs else models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if texts:
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[end],
            initial_alphabet=alphabet,
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
    special = {"bos_token": end, "eos_token": end, "unk_token": end}
    saved = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    saved.save_pretrained(folder)
    return len(saved)


def save_small_gpt2(folder: Path, merges) -> Path:
    """Save a causal model with random weights, and a byte-level BPE tokenizer of given merges."""
    import torch
    import transformers

    size = save_byte_pairs(folder, merges)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=40, initializer_range=0.5
    )
    transformers.GPT2Model(config).save_pretrained(folder)
    return folder
