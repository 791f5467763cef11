"""Character error rates with bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import kaldialign
import numpy as np

from gmot.common import GmotError
from gmot.evaluation.bootstrap import Speakers, conditions, interval, resample
from gmot.text.tokens import characters

GAP = ""  # aligned with inserted and deleted units; no unit is empty
Pair = tuple[str, str]  # reference unit, hypothesis unit


@dataclass(frozen=True)
class Score:
    """Error counts of a split. Rates are in per cent.

    Attributes:
      cer: errors per reference character.
      intervals: unit of resampling (``utterance``, and ``speaker`` if all utterances have a
        speaker and there are two or more) -> 95 % bootstrap interval
        (:mod:`gmot.evaluation.bootstrap`).
      ins, dels, sub: insertions, deletions, substitutions.
      ref_len: number of reference characters.
      num_speakers: number of speakers; None if an utterance has none.
      num_empty: utterances with an empty hypothesis for a non-empty reference.
      alignments: utterance -> pairs of units.
    """

    cer: float
    intervals: dict[str, tuple[float, float]]
    ins: int
    dels: int
    sub: int
    ref_len: int
    num_utterances: int
    num_speakers: int | None
    num_empty: int
    alignments: dict[str, list[Pair]]

    @property
    def errors(self) -> int:
        return self.ins + self.dels + self.sub

    @property
    def utterance_counts(self) -> np.ndarray:
        """Counts of each utterance as of :func:`_counts`."""
        return _counts(self.alignments)

    def record(self) -> dict[str, Any]:
        """The numbers with their names in ``results.json``."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "alignments"}
        numbers["del"] = numbers.pop("dels")
        ci_low, ci_high = self.intervals["utterance"]
        return {**numbers, "ci_low": ci_low, "ci_high": ci_high}

    def line(self, name: str, unit: str = "utterance") -> str:
        """Log line of icefall, with the interval by ``unit`` and its conditions."""
        low, high = self.intervals[unit]
        return (
            f"[{name}] %CER {self.cer:.2f}% [{self.errors} / {self.ref_len}, {self.ins} ins, "
            f"{self.dels} del, {self.sub} sub ] 95% interval {low:.2f} .. {high:.2f} "
            f"({conditions(unit, self.num_utterances, self.num_speakers)})"
        )


def score(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    replications: int = 1000,
    seed: int = 0,
    speakers: Speakers | None = None,
) -> Score:
    """Character error rate of hypotheses.

    Args:
      refs: utterance -> text, scored as :func:`gmot.text.tokens.characters`.
      hyps: utterance -> text, for the same utterances.
      replications: number of bootstrap replications.
      seed: random seed of the bootstrap.
      speakers: utterance -> speaker, for the interval by speaker.
    Raises:
      GmotError: different utterances, or no reference characters.
    """
    if refs.keys() != hyps.keys():
        raise GmotError(
            "scoring: references and hypotheses are of different utterances; only in the "
            f"references: {sorted(refs.keys() - hyps.keys())[:3]}, only in the hypotheses: "
            f"{sorted(hyps.keys() - refs.keys())[:3]}. Decode and score the same split."
        )
    alignments = align(refs, hyps)
    counts = _counts(alignments)
    if not counts[:, 3].sum():
        raise GmotError(
            f"scoring: no reference characters in {len(refs)} utterances. Check the texts of the "
            "split."
        )
    ins, dels, sub, ref_len = (int(total) for total in counts.sum(axis=0))
    owners = [(speakers or {}).get(name) for name in alignments]
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
        cer=100.0 * (ins + dels + sub) / ref_len,
        intervals=intervals,
        ins=ins,
        dels=dels,
        sub=sub,
        ref_len=ref_len,
        num_utterances=len(alignments),
        num_speakers=num_speakers,
        num_empty=sum(not characters(hyps[n]) and bool(characters(refs[n])) for n in refs),
        alignments=alignments,
    )


def align(refs: Mapping[str, str], hyps: Mapping[str, str]) -> dict[str, list[Pair]]:
    """Alignments of the characters of hypotheses with those of references, by utterance."""
    return {
        name: kaldialign.align(characters(refs[name]), characters(hyps[name]), GAP)
        for name in sorted(refs)
    }


def _counts(alignments: Mapping[str, Sequence[Pair]]) -> np.ndarray:
    """(utterances, 4): insertions, deletions, substitutions, reference characters."""
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
