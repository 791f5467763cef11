"""What was measured, for people: tables and RESULTS.md out of results.json files."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence

from gmot.bootstrap import conditions
from gmot.cli import load_config
from gmot.common import GmotError, PathLike, atomic_path
from gmot.decode.methods import METHODS
from gmot.result_files import read_results, training_runs

Record = Dict[str, Any]


def summarize(
    exp_dir: PathLike,
    systems: Sequence[str],
    epoch: Optional[int],
    avg: Optional[int],
    output: PathLike,
    title: str,
    published: Optional[PathLike] = None,
    unit: str = "utterance",
) -> str:
    """Write the results of some systems.

    Args:
      exp_dir: has a folder a system.
      systems: rows, in this order.
      epoch, avg: which results; None: of what was decoded last.
      output: the Markdown file.
      title: its heading.
      published: YAML file of what others report, to be quoted below.
      unit: resampled for the intervals, ``utterance`` or ``speaker``.
    Returns:
      The table, what its intervals are conditional on, and the teacher's layer of each system.
    Raises:
      GmotError: a system has no such results, results have no interval by speaker, or the file
        of quotations is malformed.
    """
    quoted = f"\n{quotations(published)}" if published else ""
    chosen = {s: choose(Path(exp_dir) / s / "results.json", epoch, avg) for s in systems}
    if unit == "speaker":
        for system, records in chosen.items():
            _require_speaker_intervals(Path(exp_dir) / system / "results.json", records)
    teachers = [f"{system} {teacher_of(records)}" for system, records in chosen.items()]
    table = (
        f"{results_table(chosen, unit)}\n\n{interval_lines(chosen, unit)}\n\n"
        f"Teacher: {'; '.join(teachers)}."
    )
    details = "\n".join(describe(system, records) for system, records in chosen.items())
    with atomic_path(output) as temporary:
        temporary.write_text(
            f"# {title}\n\nWritten by `local/summarize_results.py`.\n\n## Measured\n\n"
            "CER in per cent over characters, with 95% bootstrap intervals.\n\n"
            f"{table}\n\n## Speed\n\n"
            "Real-time factors (seconds a second of speech) over all parts; peak memory "
            "of all methods that were decoded together.\n\n"
            f"{speed_table(chosen)}\n\n## Details\n\n{details}{quoted}",
            encoding="utf-8",
        )
    return table


def quotations(path: PathLike) -> str:
    """What papers report, in Markdown, with what must be known to read it.

    Args:
      path: YAML: ``caveats`` (a list of sentences) and ``papers``, each with ``paper``,
        ``arxiv`` and ``rows`` of ``row, config, dev, test`` and perhaps ``note``.
    Raises:
      GmotError: missing, or not such a file.
    """
    if not Path(path).is_file():
        raise GmotError(
            f"--published {path}: no such file. Give one like a recipe's published.yaml."
        )
    content = load_config(str(path))
    try:
        if isinstance(content["caveats"], str):
            raise TypeError("'caveats' is one text, not a list")
        rows = [["paper", "row", "configuration", "dev", "test", "note"]]
        for paper in content["papers"]:
            name = f"{paper['paper']} ({paper['arxiv']})"
            for row in paper["rows"]:
                cers = [f"{float(row[part]):.2f}" for part in ("dev", "test")]
                # A number without quotes is a number to YAML.
                names = [str(row["row"]), str(row["config"])]
                rows.append([name, *names, *cers, str(row.get("note", ""))])
        caveats = "\n".join(f"- {sentence}" for sentence in content["caveats"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GmotError(
            f"{path}: not a file of published results ({type(error).__name__}: {error}); expected "
            "'caveats' and 'papers' with 'rows' of row, config, dev and test."
        ) from None
    return (
        "## Quoted from the papers\n\nNot measured here: CER in per cent, as printed there.\n\n"
        f"{caveats}\n\n{markdown_table(rows)}\n"
    )


def choose(
    path: Path,
    epoch: Optional[int],
    avg: Optional[int],
    part: Optional[str] = None,
    method: Optional[str] = None,
) -> List[Record]:
    """The records of one (epoch, avg): of those asked for, the one decoded last.

    Args:
      path: of ``results.json``.
      epoch, avg: asked for; None: any.
      part, method: asked for; None: all.
    Raises:
      GmotError: the system is missing, or has no such results.
    """
    if not path.exists():
        systems = sorted(p.parent.name for p in path.parent.parent.glob("*/results.json"))
        raise GmotError(
            f"{path}: not there. Decode system '{path.parent.name}' first (local/decode.py); "
            f"{path.parent.parent} has results of: {', '.join(systems) or 'none'}."
        )
    known = read_results(path)
    records = [r for r in known if part in (None, r["part"]) and method in (None, r["method"])]
    if not records:
        found = sorted({f"{r['part']} by {r['method']}" for r in known})
        raise GmotError(
            f"{path}: no results of {part} by {method}; decoded are: {', '.join(found)}."
        )
    decoded = [(r["epoch"], r["avg"]) for r in records]  # the newest is the last
    fitting = [(e, a) for e, a in decoded if epoch in (None, e) and avg in (None, a)]
    if not fitting:
        raise GmotError(
            f"{path}: no results of --epoch {epoch} --avg {avg}; decoded are (epoch, avg): "
            f"{sorted(set(decoded))}."
        )
    return [r for r in records if (r["epoch"], r["avg"]) == fitting[-1]]


def _require_speaker_intervals(path: Path, records: Sequence[Record]) -> None:
    for r in records:
        if "speaker" not in r.get("intervals", {}):
            found = "one speaker" if r.get("num_speakers") == 1 else "utterances without a speaker"
            raise GmotError(
                f"{path}: the results of {r['part']} by {r['method']} have no interval by speaker "
                f"({found}, or decoded before there were any). Decode again a corpus with an "
                "utt2spk of two or more speakers (local/decode.py), or use --unit utterance."
            )


def interval_lines(chosen: Dict[str, List[Record]], unit: str) -> str:
    """A line per part: what its intervals resample, and what they are conditional on."""
    found: Dict[str, Dict[str, None]] = {}
    for r in (r for records in chosen.values() for r in records):
        text = conditions(unit, r["num_utterances"], r.get("num_speakers"))
        found.setdefault(r["part"], {})[text] = None
    return "\n".join(
        f"- 95% intervals of {part}: {text}" for part, texts in found.items() for text in texts
    )


def results_table(chosen: Dict[str, List[Record]], unit: str = "utterance") -> str:
    """A row a method and system, a column a part."""
    parts = list(dict.fromkeys(r["part"] for records in chosen.values() for r in records))
    rows = [["decoding", "system", *parts]]
    for method in METHODS:
        for system, records in chosen.items():
            cells = {r["part"]: cell(r, unit) for r in records if r["method"] == method}
            if cells:
                rows.append([method, system, *(cells.get(part, "-") for part in parts)])
    return markdown_table(rows)


def speed_table(chosen: Dict[str, List[Record]]) -> str:
    """What decoding took, all parts together: times are added up, of memory the most counts."""
    rows = [["decoding", "system", "RTF encoder", "RTF decoding", "peak memory", "device"]]
    for method in METHODS:
        for system, records in chosen.items():
            found = [r for r in records if r["method"] == method]
            if found:
                factors = [f"{_rtf(found, key):.5f}" for key in ("rtf_encoder", "rtf_decoding")]
                memory = f"{max(r['peak_memory_mb'] for r in found):.0f} MB"
                device = ", ".join(unique(r["device"] for r in found))
                rows.append([method, system, *factors, memory, device])
    return markdown_table(rows)


def _rtf(records: Sequence[Record], key: str) -> float:
    """Seconds a second of speech, over records of several parts."""
    seconds = [r.get("audio_seconds", 1.0) for r in records]
    return sum(r[key] * s for r, s in zip(records, seconds)) / sum(seconds)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown, aligned so that it reads well on a console too; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
        for row in lines
    )


def cell(record: Record, unit: str = "utterance") -> str:
    """A rate with its interval."""
    low, high = record["ci_low"], record["ci_high"]
    if unit == "speaker":
        low, high = record["intervals"]["speaker"]
    return f"{record['cer']:.2f} ({low:.2f} .. {high:.2f})"


def describe(system: str, records: Sequence[Record]) -> str:
    """How the results of one system came about."""
    epoch, avg = records[0]["epoch"], records[0]["avg"]
    lines = [f"### {system}", "", f"- epochs {epoch - avg + 1} to {epoch} averaged"]
    for run in training_runs(records[0].get("training")):
        since = run.get("first_epoch", 1)
        lines.append(f"- trained by `{run.get('command')}`" + _since(since, run.get("date")))
        if run.get("environment"):
            lines.append(f"  - {versions(run['environment'])}")
    if (records[0].get("system") or {}).get("final_sinkhorn"):
        lines.append("- with a last Sinkhorn at beta after the proximal steps (final_sinkhorn)")
    lines.append(f"- teacher: {teacher_of(records)}")
    lines += [f"- decoded by `{command}`" for command in unique(r.get("command") for r in records)]
    decoded_in = unique(versions(r.get("environment")) for r in records)
    lines += [f"  - {text}" for text in decoded_in]
    lines.append(f"- seed {', '.join(map(str, unique(r.get('seed') for r in records)))}")
    for r in records:
        lines.append(
            f"- {r['part']}, {r['method']}: {r['ins']} ins, {r['del']} del, {r['sub']} sub"
            f"{_homophones(r)}, of {r['ref_len']} characters in {r['num_utterances']} utterances, "
            f"{r['num_empty']} without output; real-time factor {r['rtf_encoder']:.5f} (encoder) + "
            f"{r['rtf_decoding']:.5f} (decoding) on {r['device']}; peak memory "
            f"{r['peak_memory_mb']:.0f} MB{_scales(r)}{_search(r)}"
        )
    return "\n".join([*lines, ""])


def _since(first_epoch: int, date: Optional[str]) -> str:
    epochs = f" from epoch {first_epoch}" if first_epoch > 1 else ""
    return epochs + (f", {date}" if date else "")


def teacher_of(records: Sequence[Record]) -> str:
    """The teacher's layer that a system learned from, such as ``layer 12 of 12``."""
    layer, system = records[0].get("teacher_layer"), records[0].get("system") or {}
    if layer:
        return f"layer {layer['number']} of {layer['of']}"
    without = system.get("transfer") is False or system.get("ctc_weight") == 1
    return "none" if without else "not recorded"


def _homophones(record: Record) -> str:
    if "homophone_sub" not in record:
        return ""  # decoded before they were counted
    return f" ({record['homophone_sub']} of them homophones)"


def _scales(record: Record) -> str:
    found = [f"{name} {value:g}" for name, value in (record.get("scales") or {}).items()]
    return f"; scales: {', '.join(found)}" if found else ""


def _search(record: Record) -> str:
    """Topologies, and utterances that memory did not allow to be searched as asked for."""
    graphs = (record.get("graphs") or {}).items()
    found = [f"{name} {g['topology']}" for name, g in graphs if g.get("topology")]
    told = f"; {', '.join(found)}" if found else ""
    if record.get("num_narrowed"):
        told += (
            f"; {record['num_narrowed']} utterances searched with fewer active states than "
            f"{record['search']['max_active_states']} (at least "
            f"{record['least_max_active_states']}; {record['search']['search_memory']:g} GB)"
        )
    if record.get("num_thinned"):
        told += f"; {record['num_thinned']} lattices thinned"
    return told


def unique(values: Iterable[Any]) -> List[Any]:
    return [value for value in dict.fromkeys(values) if value is not None]


def versions(environment: Any) -> Any:
    if not environment:
        return None
    commit = environment.get("commit") or "unknown"
    dirty = " with uncommitted changes" if environment.get("dirty") else ""
    named = ("python", "torch", "k2", "lhotse", "transformers")
    found = [f"{name} {environment[name]}" for name in named if environment.get(name)]
    return f"commit {commit}{dirty}; {', '.join(found)}"
