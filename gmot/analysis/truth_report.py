"""Tables and curves of the measures of couplings against word times."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gmot.analysis.curves import Line, Panel
from gmot.evaluation.tables import markdown_table

HEAD = [
    *("system", "epoch", "plan: share", "boundary, median (ms)", "within 50 ms", "within 100 ms"),
    *("CTC: share", "boundary, median (ms)", "blanks divided", "within 50 ms", "within 100 ms"),
]
NOTE = """\
Share: of a token's mass, the part on frames whose centre lies inside the span of its word; mean
over tokens, then utterances, with its 95% interval over utterances. Boundary: absolute error of the
words' starts and ends, by the monotone segmentation of most mass; of CTC by the most probable path,
from the first to the last frame of a word's tokens, or with the blanks between two tokens divided
among them (so are the shares within 50 and 100 ms). CTC's share is that of its posteriors given the
transcript. Uniform: independent coupling; diagonal: monotone coupling of equal parts. They ignore
the audio."""
PANELS = {  # (source, measure) -> title
    ("plan", "share"): "plan: share inside the right word",
    ("plan", "boundary_median_ms"): "plan: boundary error, median (ms)",
    ("ctc_divided", "share"): "CTC posteriors: share inside the right word",
    ("ctc_divided", "boundary_median_ms"): "CTC alignment, blanks divided: boundary error (ms)",
}
_WITHIN = ("within_50_ms", "within_100_ms")


def truth_table(found: Mapping[str, Any]) -> str:
    """Markdown of :func:`gmot.analysis.coupling_truth.coupling_truth`: table, counts and note."""
    rows = [HEAD]
    for name, epochs in found["systems"].items():
        for epoch, sources in epochs.items():
            plan, ctc = sources.get("plan", {}), sources["ctc"]
            divided = sources["ctc_divided"]
            within = [_percent(divided, key) for key in _WITHIN]
            medians = [_milliseconds(ctc), _milliseconds(divided)]
            rows.append([name, str(epoch), *_cells(plan), _share(ctc), *medians, *within])
    for name, values in found["references"].items():
        rows.append([name, "", *_cells(values), *[""] * 5])
    excluded = len(found["excluded"])
    measures = found["references"]["uniform"]
    counts = (
        f"Split {found['split']}: {found['utterances']} utterances, {excluded} excluded; "
        f"{measures['tokens']} tokens, of them {measures['tokens_without_frame']} in words too "
        "short to have a frame's centre, which no share counts."
    )
    return f"{markdown_table(rows)}\n\n{counts}\n\n{NOTE}\n"


def truth_panels(found: Mapping[str, Any]) -> list[Panel]:
    """Shares and boundary errors of plans and CTC alignments against epochs, a line per system."""
    panels = []
    numbers = [int(n) for epochs in found["systems"].values() for n in epochs]
    for (source, key), title in PANELS.items():
        lines: dict[str, Line] = {}
        for name, epochs in found["systems"].items():
            points = {int(n): s[source][key] for n, s in epochs.items() if key in s.get(source, {})}
            if points:
                lines[name] = _line(points)
        for name, values in found["references"].items():
            if key in values:
                lines[name] = _line({n: values[key] for n in (min(numbers), max(numbers))})
        panels.append(Panel(f"{source}/{key}", title, lines, logarithmic=False))
    return panels


def _line(points: Mapping[int, float]) -> Line:
    epochs, values = (np.array([*x], float) for x in (points.keys(), points.values()))
    return Line(epochs, values, values, values)


def _cells(values: Mapping[str, Any]) -> list[str]:
    return [_share(values), _milliseconds(values), *(_percent(values, key) for key in _WITHIN)]


def _share(values: Mapping[str, Any]) -> str:
    if "share" not in values:
        return ""
    low, high = values["share_95"]
    return f"{values['share']:.3f} [{low:.3f}, {high:.3f}]"


def _milliseconds(values: Mapping[str, Any]) -> str:
    return f"{values['boundary_median_ms']:.0f}" if "boundary_median_ms" in values else ""


def _percent(values: Mapping[str, Any], key: str) -> str:
    return f"{100 * values[key]:.0f}%" if key in values else ""
