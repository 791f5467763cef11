"""Back-off language models and ARPA files."""

import codecs
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.text.tokens import UNK

BOS = "<s>"
EOS = "</s>"
Ngram = tuple[str, ...]


class Entry(NamedTuple):
    """Log10 probability and back-off weight of an n-gram."""

    log_prob: float
    back_off: float = 0.0


class NgramModel:
    """Back-off n-gram model; ``tables``: per order from 1, n-gram -> entry.

    The history of each n-gram has an entry, too.
    """

    def __init__(self, tables: list[dict[Ngram, Entry]]):
        self.tables = tables
        self.order = len(tables)

    def counts(self) -> list[int]:
        """Number of n-grams per order."""
        return [len(table) for table in self.tables]

    def log10_prob(self, word: str, history: Sequence[str] = ()) -> float:
        """log10 P(word | history); the last order - 1 words of the history are used.

        A history has the nearest word last, and ``<s>`` at the beginning of a sentence. Words
        without a probability count as ``<unk>``; without ``<unk>`` in the model, -inf.
        """
        *context, word = (w if (w,) in self.tables[0] else UNK for w in (*history, word))
        context = tuple(context[max(0, len(context) - self.order + 1) :])
        total = 0.0
        while True:
            entry = self.tables[len(context)].get((*context, word))
            if entry is not None:
                return total + entry.log_prob
            if not context:
                return -math.inf
            total += self.tables[len(context) - 1].get(context, Entry(0.0)).back_off
            context = context[1:]

    def sentence_log10_prob(self, words: Sequence[str]) -> float:
        """log10 P(words </s> | <s>)."""
        padded = [BOS, *words, EOS]
        return sum(self.log10_prob(padded[i], padded[:i]) for i in range(1, len(padded)))

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Perplexity per word, with ends of sentences, and unknown words as ``<unk>``."""
        total, events = 0.0, 0
        for words in sentences:
            total += self.sentence_log10_prob(words)
            events += len(words) + 1
        return 10.0 ** (-total / events)

    def save_arpa(self, path: PathLike) -> None:
        """Write an ARPA file, without back-off weights at the highest order."""
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
            f.write("\n\\data\\\n")
            for n, table in enumerate(self.tables, 1):
                f.write(f"ngram {n}={len(table)}\n")
            for n, table in enumerate(self.tables, 1):
                f.write(f"\n\\{n}-grams:\n")
                for ngram, entry in table.items():
                    f.write(f"{entry.log_prob:.9g}\t{' '.join(ngram)}")
                    backs_off = entry.back_off and n < self.order
                    f.write(f"\t{entry.back_off:.9g}\n" if backs_off else "\n")
            f.write("\n\\end\\\n")


def read_arpa(path: PathLike) -> NgramModel:
    """Read an ARPA file; kaldilm aborts the process on malformed ones, hence the strict checks.

    Fields are separated by ASCII whitespace, so that a no-break or ideographic space belongs to a
    word. Highest orders without n-grams are dropped.

    Raises:
      GmotError: the file is missing or malformed: a missing order, a wrong number of n-grams, a
        repeated n-gram or one without its history, an invalid number.
    """
    require_file(path, "Language model", "Make it first (local/make_ngram.py).")
    expected: dict[int, int] = {}
    tables: list[dict[Ngram, Entry]] = []
    section, ended, number = "", False, 0
    try:
        with open(path, "rb") as f:
            for line in f:
                number += 1
                line = line[3:] if number == 1 and line.startswith(codecs.BOM_UTF8) else line
                fields = [field.decode("utf-8") for field in line.split()]
                if not fields:
                    continue
                if fields[0] == "\\end\\":
                    ended = True
                    break
                if fields[0] == "\\data\\":
                    section = fields[0]
                elif fields[0].endswith("-grams:"):
                    section = f"\\{len(tables) + 1}-grams:"
                    if fields[0] != section:
                        raise ValueError(f"expected {section}")
                    tables.append({})
                elif section == "\\data\\":
                    n, count = "".join(fields[1:]).split("=")
                    expected[int(n)] = int(count)
                elif section:
                    _add(tables, fields)
    except UnicodeDecodeError as error:
        raise GmotError(f"{path}: not an ARPA file: not UTF-8 ({error}).") from None
    except ValueError as error:
        raise GmotError(
            f"{path}, line {number}: '{' '.join(fields)[:80]}' is not a line of an ARPA file "
            f"(section '{section}'): {error}. Make the model again (local/make_ngram.py)."
        ) from None
    found = {n: len(table) for n, table in enumerate(tables, 1)}
    if not ended or not found or found != expected:
        raise GmotError(
            f"{path}: not a complete ARPA file: it announces {expected} n-grams, has {found}, and "
            f"{'ends' if ended else 'does not end'} with \\end\\. "
            "Make the model again (local/make_ngram.py)."
        )
    while len(tables) > 1 and not tables[-1]:
        tables.pop()
    return NgramModel(tables)


def _add(tables: list[dict[Ngram, Entry]], fields: list[str]) -> None:
    """Add a line to the last table."""
    n = len(tables)
    if len(fields) not in (n + 1, n + 2):
        raise ValueError(f"expected a logarithm, {n} words and optionally a back-off weight")
    ngram = tuple(fields[1 : n + 1])
    entry = Entry(*map(float, fields[:1] + fields[n + 1 :]))
    if not (math.isfinite(entry.log_prob) and entry.log_prob <= 0):
        raise ValueError(f"{fields[0]} is not the logarithm of a probability")
    if not math.isfinite(entry.back_off):
        raise ValueError(f"{fields[-1]} is not a back-off weight")
    if ngram in tables[-1]:
        raise ValueError("repeated n-gram")
    if n > 1 and (ngram[:-1] not in tables[-2] or ngram[-1:] not in tables[0]):
        raise ValueError(f"'{' '.join(ngram[:-1])}' or '{ngram[-1]}' has no entry of lower order")
    tables[-1][ngram] = entry
