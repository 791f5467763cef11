"""icefall's result files, and the records in ``results.json``."""

import ast
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from gmot.bootstrap import Speakers
from gmot.common import GmotError, PathLike, atomic_path, read_json, require_file, write_json
from gmot.scoring import GAP, Pair, Score, score
from gmot.text.tokens import characters


def write_recogs(
    path: PathLike,
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    speakers: Optional[Speakers] = None,
) -> None:
    """Write ``recogs-*.txt``: icefall's ``id:<TAB>ref=[...]`` and ``id:<TAB>hyp=[...]`` lines.

    An utterance with a speaker has a line ``id:<TAB>spk=[...]`` too.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        for name in sorted(refs):
            f.write(f"{name}:\tref={characters(refs[name])}\n")
            f.write(f"{name}:\thyp={characters(hyps[name])}\n")
            speaker = (speakers or {}).get(name)
            if speaker:
                f.write(f"{name}:\tspk={[speaker]}\n")


class Recogs(NamedTuple):
    """Content of ``recogs-*.txt``, by utterance; utterances may lack a speaker."""

    refs: Dict[str, str]
    hyps: Dict[str, str]
    speakers: Dict[str, str]


def read_recogs(path: PathLike) -> Recogs:
    """Read what :func:`write_recogs` or icefall wrote.

    Raises:
      GmotError: the file is missing, a line is not of this kind or comes twice, or
        an utterance lacks its reference or hypothesis.
    """
    require_file(path, "Texts that were recognised", "Decode first (local/decode.py).")
    texts: Dict[str, Dict[str, str]] = {"ref": {}, "hyp": {}, "spk": {}}
    expected = "expected 'UTTERANCE:<TAB>ref=[...]' or '...hyp=[...]'. Give a recogs-*.txt file."
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise GmotError(f"{path}: not UTF-8; {expected}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"(.+):\t(ref|hyp|spk)=(\[.*\])\s*", line)
        try:
            name, side, units = found.groups() if found else ("", "", "")
            text = "".join(ast.literal_eval(units))
        except (ValueError, SyntaxError, TypeError):
            raise GmotError(f"{path}, line {number}: found '{line[:60]}', {expected}") from None
        if name in texts[side]:
            raise GmotError(
                f"{path}, line {number}: a second {side} of utterance '{name}', expected one. "
                "Decode this part again."
            )
        texts[side][name] = text
    unpaired = texts["ref"].keys() ^ texts["hyp"].keys()
    alone = sorted(unpaired | (texts["spk"].keys() - texts["ref"].keys()))
    if alone:
        raise GmotError(
            f"{path}: {len(alone)} utterances have only one of ref and hyp: {alone[:3]}. "
            "Decode this part again."
        )
    return Recogs(texts["ref"], texts["hyp"], texts["spk"])


def write_errs(path: PathLike, result: Score) -> None:
    """Write ``errs-*.txt``: totals, then each utterance, then each kind of error."""
    pairs = Counter(pair for ali in result.alignments.values() for pair in ali)
    correct = sum(n for (ref, hyp), n in pairs.items() if ref == hyp)
    lines = [
        f"%CER = {result.cer:.2f}",
        f"Errors: {result.ins} insertions, {result.dels} deletions, {result.sub} substitutions "
        f"({result.homophone_sub} of them homophones), over {result.ref_len} reference characters "
        f"({correct} correct)",
        "Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, HOMOPHONES:, "
        "DELETIONS:, INSERTIONS:, PER-WORD STATS:",
        "",
        "PER-UTT DETAILS: corr or (ref->hyp)  ",
    ]
    lines += [f"{name}:\t{_details(ali)}" for name, ali in result.alignments.items()]
    wrong = sorted(((n, ref, hyp) for (ref, hyp), n in pairs.items() if ref != hyp), reverse=True)
    lines += ["", "SUBSTITUTIONS: count ref -> hyp"]
    lines += [f"{n}   {ref} -> {hyp}" for n, ref, hyp in wrong if GAP not in (ref, hyp)]
    alike = sorted(((n, *pair) for pair, n in result.homophones.items()), reverse=True)
    lines += ["", "HOMOPHONES: count ref -> hyp, substitutions that sound right"]
    lines += [f"{n}   {ref} -> {hyp}" for n, ref, hyp in alike]
    lines += ["", "DELETIONS: count ref"]
    lines += [f"{n}   {ref}" for n, ref, hyp in wrong if hyp == GAP]
    lines += ["", "INSERTIONS: count hyp"]
    lines += [f"{n}   {hyp}" for n, ref, hyp in wrong if ref == GAP]
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
            ref, hyp = (" ".join(u for u in side if u != GAP) or "*" for side in zip(*run))
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
    units = (in_ref.keys() | in_hyp.keys()) - {GAP}
    return [
        f"{unit}   {correct[unit]} {errors[unit]} {in_ref[unit]} {in_hyp[unit]}"
        for unit in sorted(units, key=lambda u: (-errors[u], u))
    ]


SUMMARY_COLUMNS = {
    "CER": ("cer", ".2f"),
    "rtf_encoder": ("rtf_encoder", ".5f"),
    "rtf_decoding": ("rtf_decoding", ".5f"),
    "peak_memory_mb": ("peak_memory_mb", ".0f"),
}


def write_summary(path: PathLike, results: Mapping[str, Mapping[str, float]]) -> None:
    """Write ``cer-summary-*.txt``: settings, CER and what it took, the best first.

    Args:
      path: of the file.
      results: settings -> ``cer`` (per cent), ``rtf_encoder``, ``rtf_decoding`` (seconds
        a second of speech), ``peak_memory_mb``.
    """
    lines = ["\t".join(["settings", *SUMMARY_COLUMNS])]
    for settings, numbers in sorted(results.items(), key=lambda item: item[1]["cer"]):
        cells = [f"{numbers[key]:{style}}" for key, style in SUMMARY_COLUMNS.values()]
        lines.append("\t".join([settings, *cells]))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recogs_path(exp_dir: PathLike, method: str, part: str, epoch: int, avg: int) -> Path:
    """Where the texts of one result stand."""
    return Path(exp_dir) / method / f"recogs-{part}-epoch-{epoch}-avg-{avg}.txt"


def write_result_files(
    folder: PathLike,
    part: str,
    suffix: str,
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    costs: Mapping[str, float],
    speakers: Optional[Speakers] = None,
    unit: str = "utterance",
) -> Score:
    """Score a part and write its three files into ``folder``, named after the method.

    Args:
      folder: of the method.
      part: that was decoded.
      suffix: of the files' names, ``epoch-E-avg-A``.
      refs: utterance -> text.
      hyps: utterance -> text, the same utterances.
      costs: what :func:`write_summary` tells beside the error rate.
      speakers: utterance -> speaker, where it is known.
      unit: of the interval that is logged.
    Returns:
      The score; its line is logged.
    """
    folder = Path(folder)
    result = score(refs, hyps, speakers=speakers)
    write_recogs(folder / f"recogs-{part}-{suffix}.txt", refs, hyps, speakers)
    write_errs(folder / f"errs-{part}-{suffix}.txt", result)
    summary = {folder.name: {**costs, "cer": result.cer}}
    write_summary(folder / f"cer-summary-{part}-{suffix}.txt", summary)
    logging.info("%s", result.line(f"{part}-{folder.name}", unit))
    return result


RECORD_KEYS = ("part", "method", "epoch", "avg")


def update_results(path: PathLike, records: Sequence[Dict[str, Any]]) -> None:
    """Put records at the end of ``results.json``.

    They replace those of the same :data:`RECORD_KEYS`. Known records of another
    training (its first run differs) are dropped: the folder was trained anew,
    and results of two models are not to stand side by side as if of one.

    Raises:
      GmotError: what is there is not a list of records.
    """
    known = read_results(path) if Path(path).exists() else []
    trainings = [training_runs(r.get("training"))[:1] for r in records]
    kept = [r for r in known if training_runs(r.get("training"))[:1] in trainings]
    if len(kept) < len(known):
        logging.info("%s: %d results of another training dropped", path, len(known) - len(kept))
    merged: Dict[Tuple, Dict[str, Any]] = {}
    for record in [*kept, *records]:
        key = tuple(record[k] for k in RECORD_KEYS)
        merged.pop(key, None)  # a dictionary would keep the old one's place
        merged[key] = record
    write_json(path, list(merged.values()))


def training_runs(training: Optional[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The runs of a training in a record or in ``config.json``, oldest first.

    Earlier versions kept one run, the last: its ``command`` and ``environment`` stood alone.
    """
    training = training or {}
    if "runs" in training:
        return training["runs"]
    kept = ("command", "arguments", "environment")
    one = {key: training[key] for key in kept if key in training}
    return [one] if one else []


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
