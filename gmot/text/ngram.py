"""N-gram language models: interpolated modified Kneser-Ney, and ARPA files.

Chen and Goodman, "An empirical study of smoothing techniques for language
modeling" (1998), section 3. The estimates are those of lmplz and SRILM
(``-interpolate -kndiscount``) without pruning.
"""

import math
from collections import Counter, defaultdict
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.text.tokens import UNK

BOS = "<s>"
EOS = "</s>"
Ngram = Tuple[str, ...]


class Entry(NamedTuple):
    """What an ARPA file says of one n-gram, in log10."""

    log_prob: float
    back_off: float = 0.0


class NgramModel:
    """A back-off model.

    Args:
      tables: for each order from 1, n-gram -> entry. Every suffix and every
        prefix of an n-gram that stands in them stands in them too.

    Attributes:
      order: the longest n-gram.
    """

    def __init__(self, tables: List[Dict[Ngram, Entry]]):
        self.tables = tables
        self.order = len(tables)

    @property
    def vocabulary(self) -> List[str]:
        """The words that have a probability; ``<s>``, ``</s>`` and ``<unk>`` are left out."""
        return [word for (word,) in self.tables[0] if word not in (BOS, EOS, UNK)]

    def counts(self) -> List[int]:
        """How many n-grams of each order there are."""
        return [len(table) for table in self.tables]

    def log10_prob(self, word: str, history: Sequence[str] = ()) -> float:
        """log10 P(word | history); a word without a probability counts as ``<unk>``.

        Args:
          word: a word or ``</s>``.
          history: the words before it, the nearest last; begins with ``<s>`` at
            the beginning of a sentence. More than order - 1 of them are cut.
        Returns:
          -inf for an unknown word where the model has no ``<unk>``.
        """
        known = self.tables[0]
        word = word if (word,) in known else UNK
        context = tuple(w if (w,) in known else UNK for w in history)
        context = context[max(0, len(context) - self.order + 1) :]
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
        """Perplexity per event: words and ends of sentences, unknown words as ``<unk>``.

        Raises:
          GmotError: there is no sentence.
        """
        total, events = 0.0, 0
        for words in sentences:
            total += self.sentence_log10_prob(words)
            events += len(words) + 1
        if not events:
            raise GmotError("perplexity: no sentences.")
        return 10.0 ** (-total / events)

    def save_arpa(self, path: PathLike) -> None:
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
            f.write("\n\\data\\\n")
            for n, table in enumerate(self.tables, 1):
                f.write(f"ngram {n}={len(table)}\n")
            for n, table in enumerate(self.tables, 1):
                f.write(f"\n\\{n}-grams:\n")
                for ngram, entry in table.items():
                    f.write(f"{entry.log_prob:.9g}\t{' '.join(ngram)}")
                    f.write(f"\t{entry.back_off:.9g}\n" if entry.back_off else "\n")
            f.write("\n\\end\\\n")


def train(
    sentences: Iterable[Sequence[str]],
    order: int = 3,
    vocabulary: Optional[Iterable[str]] = None,
) -> NgramModel:
    """Estimate an interpolated modified Kneser-Ney model.

    ``<unk>`` is a word like any other: it is always in the vocabulary, counts
    words outside ``vocabulary``, and where there are none has the probability
    of a word that was never seen. Every word of the vocabulary has a unigram
    probability, because the unigrams are interpolated with the uniform
    distribution over vocabulary, ``</s>`` and ``<unk>``.

    Args:
      sentences: each a sequence of words, without ``<s>`` and ``</s>``.
      order: the longest n-gram.
      vocabulary: the words to model; None: those of the sentences.
    Returns:
      The model. For each history its probabilities sum to one.
    Raises:
      GmotError: no sentences, a bad order, or ``<s>``, ``</s>`` as words.
    """
    if order < 1:
        raise GmotError(f"n-gram order {order}: expected 1 or more.")
    sentences = [list(words) for words in sentences]
    if not any(sentences):
        raise GmotError("n-gram model: the text is empty. Give at least one sentence.")
    words = set(vocabulary) if vocabulary is not None else {w for s in sentences for w in s}
    if words & {BOS, EOS}:
        raise GmotError(f"n-gram model: {BOS} and {EOS} cannot be words. Remove them.")
    words.add(UNK)
    padded = [[BOS, *(w if w in words else UNK for w in s), EOS] for s in sentences]
    uniform = 1.0 / (len(words) + 1)  # and </s>

    probs: List[Dict[Ngram, float]] = []
    left_over: List[Dict[Ngram, float]] = []  # of each order, by history
    for counts in _adjusted_counts(padded, order):
        discount = _discounts(counts)
        total: Dict[Ngram, int] = defaultdict(int)
        removed: Dict[Ngram, float] = defaultdict(float)
        for ngram, count in counts.items():
            total[ngram[:-1]] += count
            removed[ngram[:-1]] += discount[min(count, 3)]
        share = {history: removed[history] / total[history] for history in total}
        lower = probs[-1] if probs else {}
        probs.append(
            {
                ngram: (count - discount[min(count, 3)]) / total[ngram[:-1]]
                + share[ngram[:-1]] * lower.get(ngram[1:], uniform)
                for ngram, count in counts.items()
            }
        )
        left_over.append(share)
    never_seen = left_over[0][()] * uniform
    for word in words | {EOS}:
        probs[0].setdefault((word,), never_seen)

    tables = []
    for n, table in enumerate(probs):
        back_off = left_over[n + 1] if n + 1 < order else {}
        entries = {
            ngram: Entry(math.log10(prob), math.log10(back_off.get(ngram, 1.0)))
            for ngram, prob in table.items()
        }
        if n == 0:  # never predicted, but a history
            entries[(BOS,)] = Entry(-99.0, math.log10(back_off.get((BOS,), 1.0)))
        tables.append({ngram: entries[ngram] for ngram in sorted(entries)})
    return NgramModel(tables)


def _adjusted_counts(padded: List[List[str]], order: int) -> List[Dict[Ngram, int]]:
    """Counts of each order: of occurrences for the highest order, else of left neighbours.

    An n-gram that begins with ``<s>`` has no left neighbours and keeps its count.
    ``<s>`` alone is no event.
    """
    raw: List[Counter] = [
        Counter(
            tuple(sentence[i : i + n])
            for sentence in padded
            for i in range(1 if n == 1 else 0, len(sentence) - n + 1)
        )
        for n in range(1, order + 1)
    ]
    adjusted: List[Dict[Ngram, int]] = []
    for n in range(1, order):
        counts = Counter(ngram[1:] for ngram in raw[n])
        counts.update({ngram: c for ngram, c in raw[n - 1].items() if ngram[0] == BOS})
        adjusted.append(counts)
    return [*adjusted, raw[-1]]


def _discounts(counts: Dict[Ngram, int]) -> Tuple[float, float, float, float]:
    """What is taken from a count of 0, 1, 2, 3 or more (Chen and Goodman, Eq. 26).

    On small texts the counts of counts can make these useless: then one
    discount for all (Ney's estimate), and if even that fails, one half.
    """
    of_counts = Counter(min(count, 5) for count in counts.values())
    n1, n2, n3, n4 = (of_counts[k] for k in (1, 2, 3, 4))
    if not n1 or not n2:
        return 0.0, 0.5, 0.5, 0.5
    y = n1 / (n1 + 2.0 * n2)
    if n3 and n4:
        d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        if d1 > 0 and d2 > 0 and d3 > 0:
            return 0.0, d1, d2, d3
    return 0.0, y, y, y


def read_arpa(path: PathLike) -> NgramModel:
    """Read an ARPA file.

    Raises:
      GmotError: the file is missing or malformed.
    """
    require_file(path, "Language model", "Make it first (local/make_ngram.py).")
    expected: Dict[int, int] = {}
    tables: List[Dict[Ngram, Entry]] = []
    section, ended = "", False
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            fields = line.split()
            if not fields:
                continue
            try:
                if fields[0] == "\\end\\":
                    ended = True
                    break
                if fields[0] == "\\data\\" or fields[0].endswith("-grams:"):
                    section = fields[0]
                    if section != "\\data\\":
                        if section != f"\\{len(tables) + 1}-grams:":
                            raise ValueError(section)
                        tables.append({})
                elif section == "\\data\\":
                    n, count = "".join(fields[1:]).split("=")
                    expected[int(n)] = int(count)
                elif section:
                    n = len(tables)
                    if len(fields) not in (n + 1, n + 2):
                        raise ValueError(line)
                    tables[-1][tuple(fields[1 : n + 1])] = Entry(
                        *map(float, fields[:1] + fields[n + 1 :])
                    )
            except ValueError:
                raise GmotError(
                    f"{path}, line {number}: '{line.strip()[:80]}' is not a line of an ARPA file "
                    f"(section '{section}'). Make the model again (local/make_ngram.py)."
                ) from None
    found = {n: len(table) for n, table in enumerate(tables, 1)}
    if not ended or not found or found != expected:
        raise GmotError(
            f"{path}: not a whole ARPA file: it announces {expected} n-grams, has {found}, and "
            f"{'ends' if ended else 'does not end'} with \\end\\. "
            "Make the model again (local/make_ngram.py)."
        )
    return NgramModel(tables)
