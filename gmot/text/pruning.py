"""Entropy pruning of back-off language models.

Stolcke, "Entropy-based pruning of backoff language models" (1998). The frequency of a history is
that in the text, not the model's own probability of it: the lower orders of Kneser-Ney models
are no distributions of words as they occur, and pruning by them loses much (Chelba et al., "Study
on interaction between entropy pruning and Kneser-Ney smoothing", 2010).
"""

import math
from collections import Counter
from typing import Dict, Iterable, List, Optional, Sequence

from gmot.common import GmotError
from gmot.text.arpa import BOS, EOS, Entry, Ngram, NgramModel
from gmot.text.tokens import UNK

Table = Dict[Ngram, Entry]


def prune(
    model: NgramModel,
    sentences: Iterable[Sequence[str]],
    threshold: float = 0.0,
    max_ngrams: Optional[int] = None,
) -> NgramModel:
    """Leave out n-grams of two words and more that matter little.

    An n-gram is left out where that raises the perplexity by less than a share of ``threshold``,
    each looked at by itself. It stays if it is the history of one that stays.

    Args:
      model: its probabilities sum to one for each history.
      sentences: the text that tells how often a history occurs.
      threshold: such as 1e-8.
      max_ngrams: at most so many n-grams of two words and more stay, the most important ones.
    Returns:
      The smaller model. For each history its probabilities sum to one.
    Raises:
      GmotError: ``threshold`` or ``max_ngrams`` is negative, or there are no sentences.
    """
    if threshold < 0 or (max_ngrams is not None and max_ngrams < 0):
        raise GmotError(
            f"pruning by {threshold} to {max_ngrams} n-grams: expected numbers from 0 on."
        )
    frequency = _frequencies(sentences, model)
    tables: List[Table] = [model.tables[0]]
    values = [
        _importance(model, n, frequency) if n else {} for n in range(model.order)
    ]  # of the n-grams of each order
    for n in range(model.order - 1, 1, -1):  # a history is worth what follows it
        for ngram, value in values[n].items():
            history = ngram[:-1]
            values[n - 1][history] = max(values[n - 1][history], value)
    if max_ngrams is not None:
        ranked = sorted((v for table in values for v in table.values()), reverse=True)
        if max_ngrams < len(ranked):
            # Of equals none stays, so that the result does not depend on their order.
            threshold = max(threshold, math.nextafter(ranked[max_ngrams], math.inf))
    for n in range(1, model.order):
        kept = {g: e for g, e in model.tables[n].items() if values[n][g] >= threshold}
        tables.append(kept)
    while len(tables) > 1 and not tables[-1]:
        tables.pop()
    return _with_back_offs(tables)


def _frequencies(sentences: Iterable[Sequence[str]], model: NgramModel) -> Dict[Ngram, float]:
    """How often each history stands before a word or an end, as a share of these."""
    counts: Counter = Counter()
    events = 0
    for sentence in sentences:
        words = [BOS, *(w if (w,) in model.tables[0] else UNK for w in sentence), EOS]
        events += len(words) - 1
        for n in range(1, model.order):
            counts.update(tuple(words[i - n : i]) for i in range(n, len(words)))
    if not events:
        raise GmotError("pruning: the text is empty. Give at least one sentence.")
    return {history: count / events for history, count in counts.items()}


def _importance(model: NgramModel, n: int, frequency: Dict[Ngram, float]) -> Dict[Ngram, float]:
    """By which share the perplexity rises if one n-gram of ``n + 1`` words is left out."""
    lower = _lower_probs(model, n)
    left, left_lower = _left_over(model.tables[n], lower)
    result = {}
    for ngram, entry in model.tables[n].items():
        history = ngram[:-1]
        prob, other = 10.0**entry.log_prob, lower[ngram]
        mass, back_off = left[history], _ratio(left[history], left_lower[history])
        changed = _ratio(mass + prob, left_lower[history] + other)
        loss = prob * math.log(prob / (other * changed))
        if mass > 0 and back_off > 0:
            loss += mass * math.log(back_off / changed)
        result[ngram] = math.expm1(frequency.get(history, 0.0) * max(loss, 0.0))
    return result


def _with_back_offs(tables: List[Table]) -> NgramModel:
    """A model of these probabilities, with the back-off weights that they call for."""
    tables = [{g: Entry(e.log_prob) for g, e in table.items()} for table in tables]
    model = NgramModel(tables)
    for n in range(1, len(tables)):  # weights of shorter histories are settled before
        left, left_lower = _left_over(tables[n], _lower_probs(model, n))
        for history, mass in left.items():
            weight = _ratio(mass, left_lower[history])
            entry = tables[n - 1][history]
            tables[n - 1][history] = entry._replace(back_off=max(math.log10(weight or 1e-99), -99))
    return model


def _lower_probs(model: NgramModel, n: int) -> Dict[Ngram, float]:
    """What the model says of each n-gram of ``n + 1`` words without its first word."""
    shorter = NgramModel(model.tables[:n])
    return {g: 10.0 ** shorter.log10_prob(g[-1], g[1:-1]) for g in model.tables[n]}


def _left_over(table: Table, lower: Dict[Ngram, float]) -> "tuple":
    """What the n-grams of each history leave of its probability, and of that of the shorter one."""
    probs: Dict[Ngram, List[float]] = {}
    lowers: Dict[Ngram, List[float]] = {}
    for ngram, entry in table.items():
        probs.setdefault(ngram[:-1], []).append(10.0**entry.log_prob)
        lowers.setdefault(ngram[:-1], []).append(lower[ngram])
    # fsum: what is left may be tiny beside what is taken.
    left = {history: max(1.0 - math.fsum(p), 0.0) for history, p in probs.items()}
    return left, {history: max(1.0 - math.fsum(p), 0.0) for history, p in lowers.items()}


def _ratio(mass: float, lower_mass: float) -> float:
    return mass / lower_mass if lower_mass > 1e-12 else 1.0
