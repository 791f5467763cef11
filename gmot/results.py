"""What was measured, for people: tables and RESULTS.md out of results.json files."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence

from gmot.common import GmotError, PathLike, atomic_path
from gmot.decode.methods import METHODS
from gmot.result_files import read_results

Record = Dict[str, Any]


def summarize(
    exp_dir: PathLike,
    systems: Sequence[str],
    epoch: Optional[int],
    avg: Optional[int],
    output: PathLike,
    title: str,
) -> str:
    """Write the results of some systems.

    Args:
      exp_dir: has a folder a system.
      systems: rows, in this order.
      epoch, avg: which results; None: of what was decoded last.
      output: the Markdown file.
      title: its heading.
    Returns:
      The table.
    Raises:
      GmotError: a system has no such results.
    """
    chosen = {s: choose(Path(exp_dir) / s / "results.json", epoch, avg) for s in systems}
    table = results_table(chosen)
    details = "\n".join(describe(system, records) for system, records in chosen.items())
    with atomic_path(output) as temporary:
        temporary.write_text(
            f"# {title}\n\nWritten by `local/summarize_results.py`.\n\n## Measured\n\n"
            "CER in per cent over characters, 95 % interval by bootstrap over utterances.\n\n"
            f"{table}\n\n{details}",
            encoding="utf-8",
        )
    return table


def choose(path: Path, epoch: Optional[int], avg: Optional[int]) -> List[Record]:
    """The records of one (epoch, avg): of those asked for, the one decoded last.

    Raises:
      GmotError: the system is missing, or has no such results.
    """
    if not path.exists():
        systems = sorted(p.parent.name for p in path.parent.parent.glob("*/results.json"))
        raise GmotError(
            f"{path}: not there. Decode system '{path.parent.name}' first (local/decode.py); "
            f"{path.parent.parent} has results of: {', '.join(systems) or 'none'}."
        )
    records = read_results(path)
    decoded = [(r["epoch"], r["avg"]) for r in records]  # the newest is the last
    fitting = [(e, a) for e, a in decoded if epoch in (None, e) and avg in (None, a)]
    if not fitting:
        raise GmotError(
            f"{path}: no results of --epoch {epoch} --avg {avg}; decoded are (epoch, avg): "
            f"{sorted(set(decoded))}."
        )
    return [r for r in records if (r["epoch"], r["avg"]) == fitting[-1]]


def results_table(chosen: Dict[str, List[Record]]) -> str:
    """Markdown, aligned so that it reads well on a console too."""
    parts = list(dict.fromkeys(r["part"] for records in chosen.values() for r in records))
    rows = [["decoding", "system", *parts]]
    for method in METHODS:
        for system, records in chosen.items():
            cells = {r["part"]: cell(r) for r in records if r["method"] == method}
            if cells:
                rows.append([method, system, *(cells.get(part, "-") for part in parts)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
        for row in rows
    )


def cell(record: Record) -> str:
    return f"{record['cer']:.2f} ({record['ci_low']:.2f} .. {record['ci_high']:.2f})"


def describe(system: str, records: Sequence[Record]) -> str:
    """How the results of one system came about."""
    epoch, avg = records[0]["epoch"], records[0]["avg"]
    lines = [f"### {system}", "", f"- epochs {epoch - avg + 1} to {epoch} averaged"]
    training = unique(r.get("training", {}).get("command") for r in records)
    lines += [f"- trained by `{command}`" for command in training]
    trained_in = unique(versions(r.get("training", {}).get("environment")) for r in records)
    lines += [f"  - {text}" for text in trained_in]
    lines += [f"- decoded by `{command}`" for command in unique(r.get("command") for r in records)]
    decoded_in = unique(versions(r.get("environment")) for r in records)
    lines += [f"  - {text}" for text in decoded_in]
    lines.append(f"- seed {', '.join(map(str, unique(r.get('seed') for r in records)))}")
    for r in records:
        lines.append(
            f"- {r['part']}, {r['method']}: {r['ins']} ins, {r['del']} del, {r['sub']} sub of "
            f"{r['ref_len']} characters in {r['num_utterances']} utterances, {r['num_empty']} "
            f"without output; real-time factor {r['rtf_encoder']:.4f} (encoder) + "
            f"{r['rtf_decoding']:.4f} (decoding) on {r['device']}; peak memory "
            f"{r['peak_memory_mb']:.0f} MB"
        )
    return "\n".join([*lines, ""])


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
