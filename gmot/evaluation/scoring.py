"""Error rates with bootstrap intervals."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import kaldialign
import numpy as np

from gmot.common import GmotError
from gmot.evaluation.bootstrap import Speakers, conditions, interval, interval_of, resample
from gmot.evaluation.groups import ordered
from gmot.text.scoring_units import CER, Metric

GAP = ""  # aligned with inserted and deleted units; no unit is empty
Pair = tuple[str, str]  # reference unit, hypothesis unit
Alignments = dict[str, list[Pair]]  # by utterance


@dataclass(frozen=True)
class Score:
    """Error counts of a split, or of a group of its utterances. Rates are in per cent.

    Attributes:
      metric: the error rate.
      rate: errors per reference unit.
      intervals: unit of resampling (``utterance``, and ``speaker`` if all utterances have a
        speaker and there are two or more) -> 95 % bootstrap interval
        (:mod:`gmot.evaluation.bootstrap`).
      ins, dels, sub: insertions, deletions, substitutions.
      ref_len: number of reference units.
      num_speakers: number of speakers; None if an utterance has none.
      num_empty: utterances with an empty hypothesis for a non-empty reference.
      alignments: utterance -> pairs of units.
    """

    metric: Metric
    rate: float
    intervals: dict[str, tuple[float, float]]
    ins: int
    dels: int
    sub: int
    ref_len: int
    num_utterances: int
    num_speakers: int | None
    num_empty: int
    alignments: Alignments

    @property
    def errors(self) -> int:
        return self.ins + self.dels + self.sub

    @property
    def utterance_counts(self) -> np.ndarray:
        """Counts of each utterance as of :func:`_counts`."""
        return _counts(self.alignments)

    def record(self) -> dict[str, Any]:
        """The numbers with their names in ``results.json``."""
        names = [f.name for f in fields(self) if f.name not in ("metric", "alignments")]
        numbers = {name: getattr(self, name) for name in names}
        numbers["del"] = numbers.pop("dels")
        return numbers

    def line(self, name: str, unit: str = "utterance") -> str:
        """Log line of icefall, with the interval by ``unit`` and its conditions.

        Without an interval by speaker: by utterance.
        """
        unit, low, high = interval_of(self.intervals, unit)
        return (
            f"[{name}] %{self.metric.name} {self.rate:.2f}% [{self.errors} / {self.ref_len}, "
            f"{self.ins} ins, {self.dels} del, {self.sub} sub ] 95% interval {low:.2f} .. "
            f"{high:.2f} ({conditions(unit, self.num_utterances, self.num_speakers)})"
        )


def score(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    replications: int = 1000,
    seed: int = 0,
    speakers: Speakers | None = None,
    metric: Metric = CER,
) -> Score:
    """Error rate of hypotheses.

    Args:
      refs: utterance -> text.
      hyps: utterance -> text, for the same utterances.
      replications: number of bootstrap replications.
      seed: random seed of the bootstrap.
      speakers: utterance -> speaker, for the interval by speaker.
      metric: error rate, with the units of texts (:mod:`gmot.text.scoring_units`).
    Raises:
      GmotError: different utterances, or no reference units.
    """
    if refs.keys() != hyps.keys():
        raise GmotError(
            "scoring: references and hypotheses are of different utterances; only in the "
            f"references: {sorted(refs.keys() - hyps.keys())[:3]}, only in the hypotheses: "
            f"{sorted(hyps.keys() - refs.keys())[:3]}. Decode and score the same split."
        )
    alignments = align(refs, hyps, metric)
    return _score(alignments, metric, speakers or {}, replications, seed)


def score_groups(
    result: Score, groups: Mapping[str, str], speakers: Speakers | None = None
) -> dict[str, Score]:
    """Score of each group of utterances, in :func:`gmot.evaluation.groups.ordered` order.

    Groups without reference units are left out, with a warning.

    Args:
      result: of all utterances.
      groups: utterance -> group, for all utterances.
      speakers: of :func:`score`.
    """
    found = {}
    for group in ordered(groups.values()):
        members = {u: pairs for u, pairs in result.alignments.items() if groups[u] == group}
        if any(ref != GAP for pairs in members.values() for ref, _ in pairs):
            found[group] = _score(members, result.metric, speakers or {})
        else:
            logging.warning("group '%s' has no reference text and no score", group)
    return found


def _score(
    alignments: Alignments,
    metric: Metric,
    speakers: Speakers,
    replications: int = 1000,
    seed: int = 0,
) -> Score:
    counts = _counts(alignments)
    if not counts[:, 3].sum():
        raise GmotError(
            f"scoring: no reference {metric.noun} in {len(alignments)} utterances. Check the texts "
            "of the split."
        )
    ins, dels, sub, ref_len = (int(total) for total in counts.sum(axis=0))
    owners = [speakers.get(name) for name in alignments]
    num_speakers = len(set(owners)) if all(owners) else None
    units: dict[str, Any] = {"utterance": None}
    if num_speakers and num_speakers > 1:
        units["speaker"] = owners
    intervals = {}
    for unit, by in units.items():
        drawn = resample(counts, replications, seed, by)
        rates = 100.0 * drawn[:, :3].sum(axis=1) / np.maximum(1, drawn[:, 3])
        intervals[unit] = interval(rates)
    return Score(
        metric=metric,
        rate=100.0 * (ins + dels + sub) / ref_len,
        intervals=intervals,
        ins=ins,
        dels=dels,
        sub=sub,
        ref_len=ref_len,
        num_utterances=len(alignments),
        num_speakers=num_speakers,
        num_empty=sum(bool(p) and all(hyp == GAP for _, hyp in p) for p in alignments.values()),
        alignments=alignments,
    )


def align(refs: Mapping[str, str], hyps: Mapping[str, str], metric: Metric = CER) -> Alignments:
    """Alignments of the units of hypotheses with those of references, by utterance."""
    return {
        name: kaldialign.align(metric.units(refs[name]), metric.units(hyps[name]), GAP)
        for name in sorted(refs)
    }


def _counts(alignments: Mapping[str, Sequence[Pair]]) -> np.ndarray:
    """(utterances, 4): insertions, deletions, substitutions, reference units."""
    counts = [
        (
            sum(ref == GAP for ref, _ in pairs),
            sum(hyp == GAP for _, hyp in pairs),
            sum(GAP not in pair and pair[0] != pair[1] for pair in pairs),
            sum(ref != GAP for ref, _ in pairs),
        )
        for pairs in alignments.values()
    ]
    return np.array(counts, dtype=np.int64).reshape(-1, 4)
