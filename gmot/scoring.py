"""Character error rates with intervals, and how many errors sound right."""

from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Dict, Iterable, List, Mapping, Tuple

import kaldialign
import numpy as np

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
      ci_low, ci_high: 95 % interval of it, by bootstrap over utterances.
      ins, dels, sub: errors by kind.
      ref_len: reference characters.
      num_utterances: utterances.
      num_empty: utterances whose hypothesis is empty though the reference is not.
      alignments: utterance -> pairs of units.
    """

    cer: float
    ci_low: float
    ci_high: float
    ins: int
    dels: int
    sub: int
    ref_len: int
    num_utterances: int
    num_empty: int
    alignments: Dict[str, List[Pair]]

    @property
    def errors(self) -> int:
        return self.ins + self.dels + self.sub

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
        return {**numbers, "homophone_sub": self.homophone_sub}

    def line(self, name: str) -> str:
        """icefall's console line, which here says what is counted."""
        return (
            f"[{name}] %CER {self.cer:.2f}% [{self.errors} / {self.ref_len}, {self.ins} ins, "
            f"{self.dels} del, {self.sub} sub of them {self.homophone_sub} homophones ] "
            f"95% interval {self.ci_low:.2f} .. {self.ci_high:.2f}"
        )


def score(
    refs: Mapping[str, str], hyps: Mapping[str, str], replications: int = 1000, seed: int = 0
) -> Score:
    """Character error rate of hypotheses.

    Units are characters without spaces, ``<unk>`` is one
    (:func:`gmot.text.tokens.characters`). The interval resamples utterances
    (Bisani and Ney, ICASSP 2004): the 2.5 and 97.5 percentiles.

    Args:
      refs: utterance -> text.
      hyps: utterance -> text, the same utterances.
      replications: resamplings for the interval.
      seed: of the resampling.
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
    drawn = resample(counts, replications, seed)
    low, high = np.percentile(drawn[:, :3].sum(axis=1) / np.maximum(1, drawn[:, 3]), [2.5, 97.5])
    return Score(
        cer=100.0 * (ins + dels + sub) / ref_len,
        ci_low=100.0 * float(low),
        ci_high=100.0 * float(high),
        ins=ins,
        dels=dels,
        sub=sub,
        ref_len=ref_len,
        num_utterances=len(alignments),
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


def resample(counts: np.ndarray, replications: int, seed: int) -> np.ndarray:
    """What counts come to in resamplings of the utterances (bootstrap).

    Args:
      counts: (utterances, kinds).
      replications: resamplings; each draws as many utterances as there are.
      seed: of the draws.
    Returns:
      (replications, kinds): sums over the utterances drawn.
    """
    rng = np.random.default_rng(seed)
    n = len(counts)
    sums = np.empty((replications, counts.shape[1]), dtype=counts.dtype)
    for row in sums:
        row[:] = np.bincount(rng.integers(n, size=n), minlength=n) @ counts
    return sums
