"""Toy models, languages and the exhaustive search that decoders must agree with."""

import itertools
from pathlib import Path

import torch

from gmot.text.lexicon import Lexicon
from gmot.text.ngram import train
from gmot.text.tokens import TokenTable, WordTable

TOKENS = TokenTable(["<blk>", "<unk>", "a", "b", "c"])
# Homophones (x1, x2), a word that begins another (x1, y), a repeated piece (z).
LEXICON = Lexicon({"x1": ["a"], "x2": ["a"], "y": ["a", "b"], "z": ["c", "c"], "w": ["b"]})
WORDS = WordTable.from_words(LEXICON.words)
TEXT = [["x1", "y"], ["x2", "w"], ["z"], ["x1", "w", "y"], ["z", "x2"], ["w", "x2", "w"]]


def language_model(folder: Path, order: int) -> "tuple":
    """A model over the toy words and the ARPA file that holds it."""
    model = train(TEXT, order=order, vocabulary=WORDS.words)
    path = Path(folder) / f"{order}.arpa"
    model.save_arpa(path)
    return model, path


def log_probs(num, frames, tokens=5, seed=0, scale=2.0):
    """(num, frames, tokens) float32."""
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(num, frames, tokens, generator=generator)).log_softmax(-1)


def collapse(path):
    """The tokens of a frame-wise path."""
    return [token for token, _ in itertools.groupby(path) if token]


def best_path_score(row, labels):
    """The best score of any frame-wise path that collapses to ``labels``; (T, C) -> float."""
    return max(
        (
            sum(float(row[t, k]) for t, k in enumerate(path))
            for path in itertools.product(range(row.shape[1]), repeat=row.shape[0])
            if collapse(path) == list(labels)
        ),
        default=float("-inf"),
    )
