"""Markdown tables of results: error rates per metric and group of utterances, and speed."""

from collections.abc import Iterable, Sequence

from gmot.decode.methods import METHODS
from gmot.evaluation.bootstrap import conditions, interval_of
from gmot.evaluation.files import Record, metrics_and_groups, parts, score_of
from gmot.evaluation.groups import rate_title
from gmot.evaluation.seeds import Chosen, mean_and_spread, seeds_of, unique


def interval_lines(chosen: Chosen, unit: str) -> list[str]:
    """One line per split and group: what its intervals resample and are conditional on."""
    found = []
    for records in chosen.values():
        for name, score in (part for r in records for part in parts(r)):
            if len(seeds_of(records)) < 2:
                by = interval_of(score["intervals"], unit)[0]
                text = conditions(by, score["num_utterances"], score.get("num_speakers"))
                found.append((name, text))
    names = [name for name, _ in found]
    ordered = sorted(unique(found), key=lambda line: names.index(line[0]))
    return [f"- 95% intervals of {name}: {text}" for name, text in ordered]


def _by_method(chosen: Chosen) -> Iterable[tuple[str, str, list[Record]]]:
    """(method, experiment, records) for each row of a table."""
    for method in METHODS:
        for name, records in chosen.items():
            found = [r for r in records if r["method"] == method]
            if found:
                yield method, name, found


def method_rank(record: Record) -> int:
    """Position of a record's method in tables: the simplest is 0."""
    names = list(METHODS)
    return names.index(record["method"]) if record["method"] in METHODS else len(names)


def results_tables(chosen: Chosen, unit: str = "utterance", level: str = "###") -> str:
    """A titled table per metric, and per metric and group of utterances."""
    everything = [r for records in chosen.values() for r in records]
    tables = []
    for metric, group in metrics_and_groups(everything):
        table = results_table(chosen, metric, group, unit)
        tables.append(f"{level} {rate_title(metric, group)}\n\n{table}")
    return "\n\n".join(tables)


def results_table(
    chosen: Chosen, metric: str, group: str | None = None, unit: str = "utterance"
) -> str:
    """One row per method and experiment, one column per split.

    Error rates have an interval, or with several training seeds a spread.
    """
    splits = unique(r["split"] for records in chosen.values() for r in records)
    rows = [["decoding", "experiment", *splits]]
    for method, name, records in _by_method(chosen):
        seeds, cells = len(seeds_of(records)), {}
        for split in splits:
            of_split = [score_of(r, metric, group) for r in records if r["split"] == split]
            scores = [score for score in of_split if score]
            if len(scores) > 1:
                cells[split] = mean_and_spread([score["rate"] for score in scores])
            elif scores:
                _, low, high = interval_of(scores[0]["intervals"], unit)
                cells[split] = f"{scores[0]['rate']:.2f} ({low:.2f} .. {high:.2f})"
        if cells:
            name += f" ({seeds} seeds)" if seeds > 1 else ""
            rows.append([method, name, *(cells.get(split, "-") for split in splits)])
    return markdown_table(rows)


def speed_table(chosen: Chosen) -> str:
    """Real-time factors over all splits, and the peak memory."""
    rows = [["decoding", "experiment", "RTF encoder", "RTF decoding", "peak memory", "device"]]
    for method, name, records in _by_method(chosen):
        seconds = [r["audio_seconds"] for r in records]
        factors = [
            sum(r[key] * s for r, s in zip(records, seconds)) / sum(seconds)
            for key in ("rtf_encoder", "rtf_decoding")
        ]
        memory = f"{max(r['peak_memory_mb'] for r in records):.0f} MB"
        device = ", ".join(unique(r["device"] for r in records))
        rows.append([method, name, *(f"{factor:.5f}" for factor in factors), memory, device])
    return markdown_table(rows)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown table with aligned columns; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    cells = ([text.ljust(width) for text, width in zip(row, widths)] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
