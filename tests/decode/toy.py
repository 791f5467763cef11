"""A toy language with its models and graphs, and exhaustive searches."""

import itertools
import math
from pathlib import Path

import torch

from gmot.decode.api import Decoder
from gmot.decode.config import DecodingConfig
from gmot.decode.ctc_search import ctc_greedy_search
from gmot.decode.fsa_graphs import compile_h, compile_hlg, save_graph
from gmot.decode.grammar import compile_g
from gmot.decode.lattice import scale_graph
from gmot.text.lexicon import Lexicon
from gmot.text.ngram import train
from gmot.text.tokens import TokenTable, WordTable
from gmot.text.units import detokenize

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


class CharacterModel:
    """A masked LM: any function of the text."""

    def score(self, texts):
        texts = [text.replace(" ", "") for text in texts]
        return [-abs(len(text) - 6.0) - 0.1 * text.count("x1") for text in texts]


def compile_all(folder, order=2, rescore_order=3, topology="modified"):
    """H.pt, HLG.pt and G.pt of the toy language."""
    folder.mkdir(exist_ok=True)
    hlg = compile_hlg(LEXICON, TOKENS, WORDS, language_model(folder, order)[1], topology)
    save_graph(folder / "H.pt", compile_h(len(TOKENS), topology), TOKENS, None, topology)
    save_graph(folder / "HLG.pt", hlg, TOKENS, WORDS, topology)
    larger = compile_g(WORDS, language_model(folder, rescore_order)[1])
    save_graph(folder / "G.pt", larger, None, WORDS)
    return folder


def make_decoder(methods, folder=None, tokens=TOKENS, words=WORDS, plm=True, **options):
    """Decoder of the toy language with some DecodingConfig fields; one HLG scale is a number."""
    if "hlg_scale" in options and not isinstance(options["hlg_scale"], list):
        options["hlg_scale"] = [options["hlg_scale"]]
    config = DecodingConfig(methods=list(methods), **options)
    return Decoder(config, tokens, folder, words, plm=CharacterModel() if plm else None)


def scaled_hlg(folder, order=2, scale=0.5, topology="modified"):
    """HLG of the toy language."""
    arpa = language_model(folder, order)[1]
    return scale_graph(compile_hlg(LEXICON, TOKENS, WORDS, arpa, topology), scale)


def viterbi(row, labels):
    """Best score of the paths that collapse to labels: (T, C) -> float, by the CTC recursion."""
    states = [0]
    for label in labels:
        states += [label, 0]
    alpha = [float(row[0, s]) if i < 2 else -math.inf for i, s in enumerate(states)]
    for frame in row[1:]:
        before, alpha = alpha, []
        for i, s in enumerate(states):
            came = [before[i]] + ([before[i - 1]] if i else [])
            if i > 1 and s and s != states[i - 2]:
                came.append(before[i - 2])
            alpha.append(max(came) + float(frame[s]))
    return max(alpha[-2:])


def token_ids(word_ids):
    """The tokens of words."""
    return [TOKENS.ids[p] for word in WORDS.decode(word_ids) for p in LEXICON.spellings[word]]


def greedy_texts(x, lengths, tokens=TOKENS):
    return [detokenize(tokens.decode(ids)) for ids in ctc_greedy_search(x, lengths)]
