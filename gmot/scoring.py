"""Character error rates with intervals, and how many errors sound right."""

from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

import kaldialign
import numpy as np

from gmot.bootstrap import Speakers, conditions, interval, resample
from gmot.common import GmotError
from gmot.pinyin import possible_sounds, sounds_in_context
from gmot.text.tokens import characters

GAP = ""  # what stands opposite an inserted or deleted unit: no unit is empty
Pair = Tuple[str, str]  # reference unit, hypothesis unit


@dataclass(frozen=True)
class Score:
    """Errors of a part. Rates are in per cent.

    Homophones are looked up when they are first asked for: the scores that
    guide a training need none.

    Attributes:
      cer: errors per reference character.
      intervals: unit of resampling (``utterance``, and ``speaker`` where each utterance has a
        speaker and there are two or more) -> 95 % bootstrap interval of the rate
        (:mod:`gmot.bootstrap`).
      ins, dels, sub: errors by kind.
      ref_len: reference characters.
      num_utterances: utterances.
      num_speakers: speakers; None where an utterance has none.
      num_empty: utterances whose hypothesis is empty though the reference is not.
      alignments: utterance -> pairs of units.
    """

    cer: float
    intervals: Dict[str, Tuple[float, float]]
    ins: int
    dels: int
    sub: int
    ref_len: int
    num_utterances: int
    num_speakers: Optional[int]
    num_empty: int
    alignments: Dict[str, List[Pair]]

    @property
    def errors(self) -> int:
        return self.ins + self.dels + self.sub

    @property
    def ci_low(self) -> float:
        """Lower end of the interval by utterance."""
        return self.intervals["utterance"][0]

    @property
    def ci_high(self) -> float:
        """Upper end of the interval by utterance."""
        return self.intervals["utterance"][1]

    @cached_property
    def homophones(self) -> Dict[Pair, int]:
        """Substitutions that sound right, and how often each comes.

        The reference's character is read in its sentence; the hypothesis's
        sounds like it if one of its readings, tone and all, is that.
        """
        found: Counter = Counter()
        for pairs in self.alignments.values():
            ref_pairs = [pair for pair in pairs if pair[0] != GAP]
            if all(ref == hyp or hyp == GAP for ref, hyp in ref_pairs):
                continue
            sounds = sounds_in_context([ref for ref, _ in ref_pairs])
            found.update(
                (ref, hyp)
                for (ref, hyp), sound in zip(ref_pairs, sounds)
                if ref != hyp and sound in possible_sounds(hyp)
            )
        return dict(found)

    @property
    def homophone_sub(self) -> int:
        """Substitutions by a homophone."""
        return sum(self.homophones.values())

    @property
    def utterance_counts(self) -> np.ndarray:
        """(utterances, 4): insertions, deletions, substitutions, reference characters."""
        return np.array([_count(pairs) for pairs in self.alignments.values()], dtype=np.int64)

    def record(self) -> Dict[str, Any]:
        """The numbers, as ``results.json`` names them."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "alignments"}
        numbers["del"] = numbers.pop("dels")
        numbers.update(ci_low=self.ci_low, ci_high=self.ci_high)
        return {**numbers, "homophone_sub": self.homophone_sub}

    def line(self, name: str, unit: str = "utterance") -> str:
        """icefall's console line, with the interval of a unit and its conditions."""
        low, high = self.intervals[unit]
        return (
            f"[{name}] %CER {self.cer:.2f}% [{self.errors} / {self.ref_len}, {self.ins} ins, "
            f"{self.dels} del, {self.sub} sub of them {self.homophone_sub} homophones ] "
            f"95% interval {low:.2f} .. {high:.2f} "
            f"({conditions(unit, self.num_utterances, self.num_speakers)})"
        )


def score(
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    replications: int = 1000,
    seed: int = 0,
    speakers: Optional[Speakers] = None,
) -> Score:
    """Character error rate of hypotheses.

    Units are characters in one written form, without spaces
    (:func:`gmot.text.tokens.characters`).

    Args:
      refs: utterance -> text.
      hyps: utterance -> text, the same utterances.
      replications: resamplings for the intervals.
      seed: of the resampling.
      speakers: utterance -> speaker, for the interval by speaker.
    Raises:
      GmotError: other utterances in one than in the other, or no reference
        characters.
    """
    if refs.keys() != hyps.keys():
        raise GmotError(
            "scoring: references and hypotheses are of different utterances; only in the "
            f"references: {sorted(refs.keys() - hyps.keys())[:3]}, only in the hypotheses: "
            f"{sorted(hyps.keys() - refs.keys())[:3]}. Decode and score the same part."
        )
    alignments = {
        name: kaldialign.align(characters(refs[name]), characters(hyps[name]), GAP)
        for name in sorted(refs)
    }
    counts = np.array([_count(pairs) for pairs in alignments.values()], dtype=np.int64)
    if not counts.size or not counts[:, 3].sum():
        raise GmotError(
            f"scoring: no reference characters in {len(refs)} utterances. Check the part's texts."
        )
    ins, dels, sub, ref_len = (int(total) for total in counts.sum(axis=0))
    owners = [(speakers or {}).get(name) for name in alignments]
    known = len(set(owners)) if all(owners) else None
    units = {"utterance": None, **({"speaker": owners} if known and known > 1 else {})}
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
        num_speakers=known,
        num_empty=sum(not characters(hyps[n]) and bool(characters(refs[n])) for n in refs),
        alignments=alignments,
    )


def _count(pairs: Iterable[Pair]) -> Tuple[int, int, int, int]:
    """Insertions, deletions, substitutions, reference units."""
    ins = dels = sub = ref_len = 0
    for ref, hyp in pairs:
        ins += ref == GAP
        dels += hyp == GAP
        sub += GAP not in (ref, hyp) and ref != hyp
        ref_len += ref != GAP
    return ins, dels, sub, ref_len
