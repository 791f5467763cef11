#!/usr/bin/env python3
"""Tell what was measured: a table on the console, and RESULTS.md out of results.json files.

A row a system, a column a method and part: CER in per cent with its 95 %
interval. Below the table stand the commands, commit, seed and versions of each
system. Of several epochs that were decoded the last is shown, unless --epoch
and --avg choose one; none is chosen by its result.
"""

import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402

Record = Dict[str, Any]


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="has a folder a system")
    parser.add_argument("--systems", nargs="+", required=True, help="rows, in this order")
    parser.add_argument("--epoch", type=int, help="show results of this epoch")
    parser.add_argument("--avg", type=int, help="show results of this --avg")
    parser.add_argument("--output", help="the Markdown file to write, for example RESULTS.md")
    parser.add_argument("--title", default="Results", help="its heading")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.common import atomic_path

    chosen = {
        system: choose(Path(args.exp_dir) / system / "results.json", args.epoch, args.avg)
        for system in args.systems
    }
    table = results_table(chosen)
    print(table)
    if args.output:
        details = "\n".join(describe(system, records) for system, records in chosen.items())
        with atomic_path(args.output) as temporary:
            temporary.write_text(
                f"# {args.title}\n\nWritten by `local/summarize_results.py`.\n\n"
                "## Measured\n\nCER in per cent over characters, 95 % interval by bootstrap over "
                f"utterances.\n\n{table}\n\n{details}",
                encoding="utf-8",
            )


def choose(path: Path, epoch: Any, avg: Any) -> List[Record]:
    """The records of one (epoch, avg).

    Raises:
      GmotError: the system is missing, or has no such results.
    """
    from gmot.common import GmotError
    from gmot.scoring import read_results

    if not path.exists():
        systems = sorted(p.parent.name for p in path.parent.parent.glob("*/results.json"))
        raise GmotError(
            f"{path}: not there. Decode system '{path.parent.name}' first (local/decode.py); "
            f"{path.parent.parent} has results of: {', '.join(systems) or 'none'}."
        )
    records = read_results(path)
    decoded = sorted({(r["epoch"], r["avg"]) for r in records})
    fitting = [(e, a) for e, a in decoded if epoch in (None, e) and avg in (None, a)]
    if not fitting:
        raise GmotError(
            f"{path}: no results of --epoch {epoch} --avg {avg}; decoded are (epoch, avg): "
            f"{decoded}."
        )
    return [r for r in records if (r["epoch"], r["avg"]) == fitting[-1]]


def results_table(chosen: Dict[str, List[Record]]) -> str:
    """Markdown, aligned so that it reads well on a console too."""
    from gmot.decode.api import METHODS

    columns: List[Tuple[str, str]] = sorted(
        {(r["method"], r["part"]) for records in chosen.values() for r in records},
        key=lambda column: (METHODS.index(column[0]), column[1]),
    )
    rows = [["system", "epoch/avg", *(f"{method} {part}" for method, part in columns)]]
    for system, records in chosen.items():
        cells = {(r["method"], r["part"]): cell(r) for r in records}
        epoch = f"{records[0]['epoch']}/{records[0]['avg']}"
        rows.append([system, epoch, *(cells.get(column, "-") for column in columns)])
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
    lines = [f"### {system}", ""]
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


def unique(values: Any) -> List[Any]:
    return [value for value in dict.fromkeys(values) if value is not None]


def versions(environment: Any) -> Any:
    if not environment:
        return None
    commit = environment.get("commit") or "unknown"
    dirty = " with uncommitted changes" if environment.get("dirty") else ""
    named = ("python", "torch", "k2", "lhotse", "transformers")
    found = [f"{name} {environment[name]}" for name in named if environment.get(name)]
    return f"commit {commit}{dirty}; {', '.join(found)}"


if __name__ == "__main__":
    run(main)
