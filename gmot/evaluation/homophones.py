"""Mandarin homophone substitutions: analysis of scored alignments by toned pinyin."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from gmot.common import GmotError
from gmot.evaluation.scoring import GAP, Pair
from gmot.text.scoring_units import Metric


def require_characters(metrics: Sequence[Metric]) -> None:
    """Check that homophones can be counted; GmotError if Chinese characters are no units."""
    if not any(metric.has_characters for metric in metrics):
        raise GmotError(
            "--homophones: Mandarin homophones are counted among characters, but --scoring is "
            f"{' '.join(metric.noun for metric in metrics)}. Add characters or mixed to it, or "
            "leave out --homophones (decoding.yaml of a recipe)."
        )


def count_homophones(alignments: Iterable[Sequence[Pair]]) -> dict[Pair, int]:
    """Substitutions by a homophone and their counts.

    A substitution counts if the pinyin, with tone, of the reference character in its sentence is
    one of the readings of the hypothesis character.

    Args:
      alignments: pairs of (reference, hypothesis) units per utterance.
    """
    found: Counter = Counter()
    for pairs in alignments:
        ref_pairs = [pair for pair in pairs if pair[0] != GAP]
        if all(ref == hyp or hyp == GAP for ref, hyp in ref_pairs):
            continue
        readings = _readings_in_context([ref for ref, _ in ref_pairs])
        found.update(
            (ref, hyp)
            for (ref, hyp), reading in zip(ref_pairs, readings)
            if ref != hyp and reading in _readings(hyp)
        )
    return dict(found)


def _readings_in_context(units: Sequence[str]) -> list[str]:
    """Toned pinyin (``hang2``) per unit; empty for units that are not a Chinese character."""
    from pypinyin import Style, pinyin  # loading its dictionaries takes a second

    # Longer units such as <unk> become a space, which keeps positions and separates context.
    text = "".join(unit if len(unit) == 1 else " " for unit in units)
    return [found[0] for found in pinyin(text, style=Style.TONE3, errors=_no_readings)]


@cache
def _readings(unit: str) -> frozenset[str]:
    """All readings of a Chinese character; none for other units."""
    from pypinyin import Style, pinyin

    if len(unit) != 1:
        return frozenset()
    found = pinyin(unit, style=Style.TONE3, heteronym=True, errors=_no_readings)
    return frozenset(found[0]) - {""}


def _no_readings(text: str) -> Any:
    return [""] * len(text)
