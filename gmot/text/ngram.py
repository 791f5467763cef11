"""Estimation of n-gram language models: interpolated modified Kneser-Ney.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998),
section 3. The estimates equal those of lmplz and SRILM (``-interpolate -kndiscount``).
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from gmot.common import GmotError
from gmot.text.arpa import BOS, EOS, Entry, Ngram, NgramModel
from gmot.text.tokens import UNK


def train(
    sentences: Iterable[Sequence[str]], order: int = 3, vocabulary: Iterable[str] | None = None
) -> NgramModel:
    """Estimate an interpolated modified Kneser-Ney model; it sums to one for each history.

    ``<unk>`` is in the vocabulary and counts words outside of ``vocabulary``; if there are none, it
    has the probability of an unseen word. Every word of the vocabulary has a unigram probability,
    because unigrams are interpolated with the uniform distribution.

    Args:
      sentences: sequences of words, without ``<s>`` and ``</s>``.
      order: of the model.
      vocabulary: words of the model; None: those of the sentences.

    Raises:
      GmotError: no sentences, an invalid order, or ``<s>``, ``</s>`` as words.
    """
    if order < 1:
        raise GmotError(f"n-gram order {order}: expected 1 or more.")
    sentences = [list(words) for words in sentences]
    if not any(sentences):
        raise GmotError("n-gram model: the text is empty, expected at least one sentence.")
    words = set(vocabulary) if vocabulary is not None else {w for s in sentences for w in s}
    if words & {BOS, EOS}:
        raise GmotError(f"n-gram model: {BOS} and {EOS} cannot be words. Remove them.")
    words.add(UNK)
    padded = [[BOS, *(w if w in words else UNK for w in s), EOS] for s in sentences]
    uniform = 1.0 / (len(words) + 1)  # and </s>
    probs: list[dict[Ngram, float]] = []
    left_over: list[dict[Ngram, float]] = []  # per order: history -> mass for lower orders
    for n, counts in enumerate(_adjusted_counts(padded, order), 1):
        logging.info("n-grams of order %d: %d", n, len(counts))
        table, share = _interpolate(counts, probs[-1] if probs else {}, uniform)
        probs.append(table)
        left_over.append(share)
    unseen = left_over[0][()] * uniform
    for word in words | {EOS}:
        probs[0].setdefault((word,), unseen)
    probs[0][(BOS,)] = 1e-99  # a history that is never predicted
    tables = [
        {g: Entry(math.log10(table[g]), math.log10(back_off.get(g, 1.0))) for g in sorted(table)}
        for table, back_off in zip(probs, [*left_over[1:], {}])
    ]
    return NgramModel(tables)


def _interpolate(
    counts: dict[Ngram, int], lower: dict[Ngram, float], uniform: float
) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """Probabilities of an order, and the mass that each history leaves to the lower order."""
    discount = _discounts(counts)
    total: dict[Ngram, int] = defaultdict(int)
    removed: dict[Ngram, float] = defaultdict(float)
    for ngram, count in counts.items():
        total[ngram[:-1]] += count
        removed[ngram[:-1]] += discount[min(count, 3)]
    share = {history: removed[history] / total[history] for history in total}
    probs = {
        ngram: (count - discount[min(count, 3)]) / total[ngram[:-1]]
        + share[ngram[:-1]] * lower.get(ngram[1:], uniform)
        for ngram, count in counts.items()
    }
    return probs, share


def _adjusted_counts(padded: list[list[str]], order: int) -> list[dict[Ngram, int]]:
    """Counts per order: occurrences for the highest order, else distinct left neighbours.

    An n-gram that begins with ``<s>`` has no left neighbours and keeps its count. ``<s>`` alone is
    not an event.
    """
    raw: list[Counter] = [
        Counter(
            tuple(sentence[i : i + n])
            for sentence in padded
            for i in range(1 if n == 1 else 0, len(sentence) - n + 1)
        )
        for n in range(1, order + 1)
    ]
    adjusted: list[dict[Ngram, int]] = []
    for lower, higher in zip(raw, raw[1:]):
        counts = Counter(ngram[1:] for ngram in higher)
        counts.update({ngram: c for ngram, c in lower.items() if ngram[0] == BOS})
        adjusted.append(counts)
    return [*adjusted, raw[-1]]


def _discounts(counts: dict[Ngram, int]) -> tuple[float, float, float, float]:
    """Discounts of counts 0, 1, 2 and 3 or more (Chen and Goodman, Eq. 26).

    If the counts of counts of a small text make them invalid: one discount for all (Ney's
    estimate), or else one half.
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
