"""Estimation of n-gram language models: interpolated modified Kneser-Ney.

Chen and Goodman, "An empirical study of smoothing techniques for language
modeling" (1998), section 3. The estimates are those of lmplz and SRILM
(``-interpolate -kndiscount``) without pruning.
"""

import logging
import math
from collections import Counter, defaultdict
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from gmot.common import GmotError
from gmot.text.arpa import BOS, EOS, Entry, Ngram, NgramModel
from gmot.text.tokens import UNK


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
    for n, counts in enumerate(_adjusted_counts(padded, order), 1):
        logging.info("n-grams of %d words: %d", n, len(counts))
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
