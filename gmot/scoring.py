"""Character error rates with intervals, and icefall's result files."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

import kaldialign
import numpy as np

from gmot.common import GmotError, PathLike, atomic_path, read_json, write_json
from gmot.text.tokens import characters

_GAP = ""  # what stands opposite an inserted or deleted unit: no unit is empty
Pair = Tuple[str, str]  # reference unit, hypothesis unit


@dataclass(frozen=True)
class Score:
    """Errors of a part. Rates are in per cent.

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

    def record(self) -> Dict[str, Any]:
        """The numbers, as ``results.json`` names them."""
        numbers = {k: v for k, v in vars(self).items() if k != "alignments"}
        numbers["del"] = numbers.pop("dels")
        return numbers

    def line(self, name: str) -> str:
        """icefall's console line, which here says what is counted."""
        return (
            f"[{name}] %CER {self.cer:.2f}% [{self.errors} / {self.ref_len}, {self.ins} ins, "
            f"{self.dels} del, {self.sub} sub ] "
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
        name: kaldialign.align(characters(refs[name]), characters(hyps[name]), _GAP)
        for name in sorted(refs)
    }
    counts = np.array([_count(pairs) for pairs in alignments.values()], dtype=np.int64)
    if not counts.size or not counts[:, 3].sum():
        raise GmotError(
            f"scoring: no reference characters in {len(refs)} utterances. Check the part's texts."
        )
    ins, dels, sub, ref_len = (int(total) for total in counts.sum(axis=0))
    low, high = _interval(counts[:, :3].sum(axis=1), counts[:, 3], replications, seed)
    return Score(
        cer=100.0 * (ins + dels + sub) / ref_len,
        ci_low=low,
        ci_high=high,
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
        ins += ref == _GAP
        dels += hyp == _GAP
        sub += _GAP not in (ref, hyp) and ref != hyp
        ref_len += ref != _GAP
    return ins, dels, sub, ref_len


def _interval(
    errors: np.ndarray, lengths: np.ndarray, replications: int, seed: int
) -> Tuple[float, float]:
    """2.5 and 97.5 percentiles of the error rate over resampled utterances, in per cent."""
    rng = np.random.default_rng(seed)
    n = len(errors)
    rates = []
    for _ in range(replications):
        drawn = rng.integers(n, size=n)
        rates.append(errors[drawn].sum() / max(1, lengths[drawn].sum()))
    low, high = np.percentile(rates, [2.5, 97.5])
    return 100.0 * float(low), 100.0 * float(high)


def write_recogs(path: PathLike, refs: Mapping[str, str], hyps: Mapping[str, str]) -> None:
    """Write ``recogs-*.txt``: ``id:<TAB>ref=[...]`` and ``id:<TAB>hyp=[...]`` lines."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        for name in sorted(refs):
            f.write(f"{name}:\tref={characters(refs[name])}\n")
            f.write(f"{name}:\thyp={characters(hyps[name])}\n")


def write_errs(path: PathLike, result: Score) -> None:
    """Write ``errs-*.txt``: totals, then each utterance, then each kind of error."""
    pairs = Counter(pair for ali in result.alignments.values() for pair in ali)
    correct = sum(n for (ref, hyp), n in pairs.items() if ref == hyp)
    lines = [
        f"%CER = {result.cer:.2f}",
        f"Errors: {result.ins} insertions, {result.dels} deletions, {result.sub} substitutions, "
        f"over {result.ref_len} reference characters ({correct} correct)",
        "Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, DELETIONS:, "
        "INSERTIONS:, PER-WORD STATS:",
        "",
        "PER-UTT DETAILS: corr or (ref->hyp)  ",
    ]
    lines += [f"{name}:\t{_details(ali)}" for name, ali in result.alignments.items()]
    wrong = sorted(((n, ref, hyp) for (ref, hyp), n in pairs.items() if ref != hyp), reverse=True)
    lines += ["", "SUBSTITUTIONS: count ref -> hyp"]
    lines += [f"{n}   {ref} -> {hyp}" for n, ref, hyp in wrong if _GAP not in (ref, hyp)]
    lines += ["", "DELETIONS: count ref"]
    lines += [f"{n}   {ref}" for n, ref, hyp in wrong if hyp == _GAP]
    lines += ["", "INSERTIONS: count hyp"]
    lines += [f"{n}   {hyp}" for n, ref, hyp in wrong if ref == _GAP]
    lines += ["", "PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp"]
    lines += _unit_lines(pairs)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _details(pairs: Sequence[Pair]) -> str:
    """``a b (c d->e) f``: runs of errors are joined, ``*`` stands for nothing."""
    parts: List[str] = []
    run: List[Pair] = []
    for pair in [*pairs, ("|", "|")]:
        if pair[0] != pair[1]:
            run.append(pair)
            continue
        if run:
            ref, hyp = (" ".join(u for u in side if u != _GAP) or "*" for side in zip(*run))
            parts.append(f"({ref}->{hyp})")
            run = []
        parts.append(pair[0])
    return " ".join(parts[:-1])


def _unit_lines(pairs: Mapping[Pair, int]) -> List[str]:
    correct: Counter = Counter()
    errors: Counter = Counter()
    in_ref: Counter = Counter()
    in_hyp: Counter = Counter()
    for (ref, hyp), n in pairs.items():
        in_ref[ref] += n
        in_hyp[hyp] += n
        if ref == hyp:
            correct[ref] += n
        else:
            errors[ref] += n
            errors[hyp] += n
    units = (in_ref.keys() | in_hyp.keys()) - {_GAP}
    return [
        f"{unit}   {correct[unit]} {errors[unit]} {in_ref[unit]} {in_hyp[unit]}"
        for unit in sorted(units, key=lambda u: (-errors[u], u))
    ]


def write_summary(path: PathLike, cers: Mapping[str, float]) -> None:
    """Write ``cer-summary-*.txt``: settings and CER, the best first."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        f.write("settings\tCER\n")
        for settings, cer in sorted(cers.items(), key=lambda item: item[1]):
            f.write(f"{settings}\t{cer:.2f}\n")


def write_result_files(
    folder: PathLike, part: str, suffix: str, refs: Mapping[str, str], hyps: Mapping[str, str]
) -> Score:
    """Score a part and write its three files into ``folder``, named after the method.

    Returns:
      The score; its line is logged.
    """
    folder = Path(folder)
    result = score(refs, hyps)
    write_recogs(folder / f"recogs-{part}-{suffix}.txt", refs, hyps)
    write_errs(folder / f"errs-{part}-{suffix}.txt", result)
    write_summary(folder / f"cer-summary-{part}-{suffix}.txt", {folder.name: result.cer})
    logging.info("%s", result.line(f"{part}-{folder.name}"))
    return result


RECORD_KEYS = ("part", "method", "epoch", "avg")


def update_results(path: PathLike, records: Sequence[Dict[str, Any]]) -> None:
    """Put records at the end of ``results.json``.

    They replace those of the same :data:`RECORD_KEYS`. Known records of another
    training (their ``training`` differs) are dropped: the folder was trained anew,
    and results of two models are not to stand side by side as if of one.

    Raises:
      GmotError: what is there is not a list of records.
    """
    known = read_results(path) if Path(path).exists() else []
    trainings = [r.get("training") for r in records]
    kept = [r for r in known if r.get("training") in trainings]
    if len(kept) < len(known):
        logging.info("%s: %d results of another training dropped", path, len(known) - len(kept))
    merged: Dict[Tuple, Dict[str, Any]] = {}
    for record in [*kept, *records]:
        key = tuple(record[k] for k in RECORD_KEYS)
        merged.pop(key, None)  # a dictionary would keep the old one's place
        merged[key] = record
    write_json(path, list(merged.values()))


def read_results(path: PathLike) -> List[Dict[str, Any]]:
    """Read ``results.json``; what was decoded last comes last.

    Raises:
      GmotError: missing, or not a list of records.
    """
    records = read_json(path)
    if not isinstance(records, list) or not all(
        isinstance(r, dict) and all(k in r for k in (*RECORD_KEYS, "cer")) for r in records
    ):
        raise GmotError(f"{path}: not a list of results. Delete it and decode again.")
    return records
