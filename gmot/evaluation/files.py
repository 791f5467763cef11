"""Result files of icefall (recogs, errs, summaries) and the records in ``results.json``."""

import ast
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from gmot.common import GmotError, PathLike, atomic_path, read_json, require_file, write_json
from gmot.evaluation.bootstrap import Speakers
from gmot.evaluation.groups import ordered
from gmot.evaluation.scoring import GAP, Pair, Score
from gmot.provenance import training_runs
from gmot.text.normalize import join_words
from gmot.text.scoring_units import mixed

Record = dict[str, Any]


def write_recogs(
    path: PathLike,
    refs: Mapping[str, str],
    hyps: Mapping[str, str],
    speakers: Speakers | None = None,
    groups: Mapping[str, str] | None = None,
) -> None:
    """Write ``recogs-*.txt``: lines ``id:<TAB>ref=[...]`` and ``id:<TAB>hyp=[...]`` as icefall,
    and ``id:<TAB>spk=[...]`` and ``id:<TAB>group=[...]`` for utterances with a speaker or group.

    Texts are lists of Chinese characters and words, whatever was scored.
    """
    lines = []
    for name in sorted(refs):
        lines.append(f"{name}:\tref={mixed(refs[name])}")
        lines.append(f"{name}:\thyp={mixed(hyps[name])}")
        for key, of_key in (("spk", speakers), ("group", groups)):
            value = (of_key or {}).get(name)
            if value:
                lines.append(f"{name}:\t{key}={[value]}")
    _write_lines(path, lines)


def _write_lines(path: PathLike, lines: Sequence[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class Recogs(NamedTuple):
    """Content of ``recogs-*.txt`` by utterance; speaker and group are optional."""

    refs: dict[str, str]
    hyps: dict[str, str]
    speakers: dict[str, str]
    groups: dict[str, str]


def read_recogs(path: PathLike) -> Recogs:
    """Read a file of :func:`write_recogs` or icefall.

    Raises:
      GmotError: missing file, malformed or repeated line, or an utterance without reference or
        hypothesis.
    """
    require_file(path, "Recognition results", "Decode first (local/decode.py).")
    texts: dict[str, dict[str, str]] = {"ref": {}, "hyp": {}, "spk": {}, "group": {}}
    expected = "expected 'UTTERANCE:<TAB>ref=[...]' or '...hyp=[...]'. Give a recogs-*.txt file."
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise GmotError(f"{path}: not UTF-8; {expected}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"(.+):\t(ref|hyp|spk|group)=(\[.*\])\s*", line)
        try:
            name, side, units = found.groups() if found else ("", "", "")
            text = join_words(ast.literal_eval(units))
        except (ValueError, SyntaxError, TypeError):
            raise GmotError(f"{path}, line {number}: found '{line[:60]}', {expected}") from None
        if name in texts[side]:
            raise GmotError(
                f"{path}, line {number}: a second {side} of utterance '{name}', expected one. "
                "Decode this split again."
            )
        texts[side][name] = text
    unpaired = texts["ref"].keys() ^ texts["hyp"].keys()
    owners = texts["spk"].keys() | texts["group"].keys()
    alone = sorted(unpaired | (owners - texts["ref"].keys()))
    if alone:
        raise GmotError(
            f"{path}: {len(alone)} utterances without ref or hyp: {alone[:3]}. "
            "Decode this split again."
        )
    return Recogs(*texts.values())


def write_errs(path: PathLike, result: Score, homophones: Mapping[Pair, int] | None = None) -> None:
    """Write ``errs-*.txt``: totals, utterances, and counts of each error.

    Substitutions by a homophone, if given, have a section of their own.
    """
    pairs = Counter(pair for ali in result.alignments.values() for pair in ali)
    correct = sum(n for (ref, hyp), n in pairs.items() if ref == hyp)
    wrong = sorted(((n, ref, hyp) for (ref, hyp), n in pairs.items() if ref != hyp), reverse=True)
    sections = {
        "PER-UTT DETAILS: corr or (ref->hyp)  ": [
            f"{name}:\t{_details(ali)}" for name, ali in result.alignments.items()
        ],
        "SUBSTITUTIONS: count ref -> hyp": [
            f"{n}   {ref} -> {hyp}" for n, ref, hyp in wrong if GAP not in (ref, hyp)
        ],
        "DELETIONS: count ref": [f"{n}   {ref}" for n, ref, hyp in wrong if hyp == GAP],
        "INSERTIONS: count hyp": [f"{n}   {hyp}" for n, ref, hyp in wrong if ref == GAP],
        "PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp": _unit_lines(pairs),
    }
    if homophones is not None:
        alike = sorted(((n, *pair) for pair, n in homophones.items()), reverse=True)
        sections["HOMOPHONES: count ref -> hyp"] = [f"{n}   {a} -> {b}" for n, a, b in alike]
    names = ", ".join(head.split(":")[0] + ":" for head in sections)
    lines = [
        f"%{result.metric.name} = {result.rate:.2f}",
        f"Errors: {result.ins} insertions, {result.dels} deletions, {result.sub} substitutions, "
        f"over {result.ref_len} reference {result.metric.noun} ({correct} correct)",
        f"Search below for sections starting with {names}",
    ]
    for head, content in sections.items():
        lines += ["", head, *content]
    _write_lines(path, lines)


def _details(pairs: Sequence[Pair]) -> str:
    """``a b (c d->e) f``: adjacent errors are joined, ``*`` is the empty side."""
    words: list[str] = []
    for correct, run in groupby(pairs, lambda pair: pair[0] == pair[1]):
        refs, hyps = zip(*run)
        if correct:
            words += refs
        else:
            ref, hyp = (" ".join(u for u in side if u != GAP) or "*" for side in (refs, hyps))
            words.append(f"({ref}->{hyp})")
    return " ".join(words)


def _unit_lines(pairs: Mapping[Pair, int]) -> list[str]:
    """Correct, errors, count in references and in hypotheses of each unit."""
    counts: dict[str, list[int]] = {}
    for pair, n in pairs.items():
        for side, unit in enumerate(pair):
            of_unit = counts.setdefault(unit, [0, 0, 0, 0])
            of_unit[2 + side] += n
            if pair[0] != pair[1]:
                of_unit[1] += n
            elif side == 0:
                of_unit[0] += n
    counts.pop(GAP, None)
    listed = sorted(counts.items(), key=lambda item: (-item[1][1], item[0]))
    return [f"{unit}   {' '.join(map(str, of_unit))}" for unit, of_unit in listed]


SUMMARY_COLUMNS = {"rtf_encoder": ".5f", "rtf_decoding": ".5f", "peak_memory_mb": ".0f"}


def write_summary(path: PathLike, metric: str, results: Mapping[str, Mapping[str, float]]) -> None:
    """Write ``cer-summary-*.txt``, ``wer-summary-*.txt``, ..., the lowest rate first.

    Args:
      metric: name, the head of a column.
      results: settings -> ``rate`` (per cent), ``rtf_encoder``, ``rtf_decoding`` (real-time
        factors), ``peak_memory_mb``.
    """
    lines = ["\t".join(["settings", metric, *SUMMARY_COLUMNS])]
    for settings, numbers in sorted(results.items(), key=lambda item: item[1]["rate"]):
        cells = [f"{numbers[name]:{style}}" for name, style in SUMMARY_COLUMNS.items()]
        lines.append("\t".join([settings, f"{numbers['rate']:.2f}", *cells]))
    _write_lines(path, lines)


def recogs_path(exp_dir: PathLike, record: Mapping[str, Any]) -> Path:
    """Path of the recogs file of a record."""
    kind = record.get("average", "last")
    name = f"recogs-{record['split']}-epoch-{record['epoch']}-avg-{record['avg']}"
    return Path(exp_dir) / record["method"] / f"{name}{'' if kind == 'last' else f'-{kind}'}.txt"


RECORD_KEYS = ("split", "method", "epoch", "avg")  # and average, if other than "last"
# Of a record of before there were several metrics, beside "cer".
_SCORE = (
    *("intervals", "ins", "del", "sub", "ref_len", "num_utterances", "num_speakers", "num_empty"),
    "homophone_sub",
)


def _key(record: Mapping[str, Any]) -> tuple:
    return (*(record[k] for k in RECORD_KEYS), record.get("average", "last"))


def update_results(path: PathLike, records: Sequence[dict[str, Any]]) -> None:
    """Append records to ``results.json``.

    They replace records with the same :data:`RECORD_KEYS` and ``average``. Records of another
    training (other first run) are removed, since the experiment folder was trained again.

    Raises:
      GmotError: the existing file is not a list of records.
    """
    known = read_results(path) if Path(path).exists() else []
    trainings = [_first_run(r) for r in records]
    kept = [r for r in known if _first_run(r) in trainings]
    if len(kept) < len(known):
        logging.info("%s: %d results of another training removed", path, len(known) - len(kept))
    merged: dict[tuple, dict[str, Any]] = {}
    for record in [*kept, *records]:
        key = _key(record)
        merged.pop(key, None)  # a dictionary would keep the position of the old record
        merged[key] = record
    write_json(path, list(merged.values()))


def _first_run(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return training_runs(record.get("training"))[:1]


def read_results(path: PathLike) -> list[Record]:
    """Read ``results.json``, sorted by time of decoding.

    Each record has ``scores``: metric (``CER``, ...) -> the numbers of
    :meth:`gmot.evaluation.scoring.Score.record`, and optionally ``homophone_sub`` and ``groups``
    (group -> its numbers); the first metric is the primary one. Records of older versions, with
    the numbers of the CER beside the other fields, are converted.

    Raises:
      GmotError: missing, or not a list of records.
    """
    records = read_json(path)
    if not isinstance(records, list) or not all(
        isinstance(r, dict) and r.keys() >= {*RECORD_KEYS} and r.keys() & {"scores", "cer"}
        for r in records
    ):
        raise GmotError(
            f"{path}: expected a list of records with {', '.join(RECORD_KEYS)} and scores (or "
            "cer). Remove it and decode again."
        )
    return [record if "scores" in record else _converted(record) for record in records]


def _converted(record: Record) -> Record:
    """A record of an older version with ``scores``."""
    score = {"rate": record["cer"], **{k: record[k] for k in _SCORE if k in record}}
    others = {k: v for k, v in record.items() if k not in ("cer", "ci_low", "ci_high", *_SCORE)}
    return {**others, "scores": {"CER": score}}


def score_of(record: Record, metric: str, group: str | None = None) -> Record | None:
    """Score of a record, or of a group of its utterances; None if there is none."""
    score = record["scores"].get(metric)
    return score if group is None or score is None else score.get("groups", {}).get(group)


def primary(record: Record) -> tuple[str, Record]:
    """Name and score of the primary metric."""
    return next(iter(record["scores"].items()))


def parts(record: Record) -> list[tuple[str, Record]]:
    """Split, and each of its groups: name such as ``test, adult``, and score.

    All metrics have the same utterances and groups, so the primary one stands for them.
    """
    _, score = primary(record)
    split = record["split"]
    groups = score.get("groups", {}).items()
    return [(split, score), *((f"{split}, {group}", found) for group, found in groups)]


def metrics_and_groups(records: Iterable[Record]) -> list[tuple[str, str | None]]:
    """All metrics of records, each followed by its groups: (metric, group or None)."""
    found: dict[str, set[str]] = {}
    for record in records:
        for metric, score in record["scores"].items():
            found.setdefault(metric, set()).update(score.get("groups", {}))
    return [(metric, g) for metric, groups in found.items() for g in (None, *ordered(groups))]
