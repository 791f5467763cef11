"""Comparisons as log lines and Markdown tables."""

from collections.abc import Sequence

import numpy as np

from gmot.common import PathLike, atomic_path
from gmot.evaluation.comparison import Compared, Comparison
from gmot.evaluation.homophones import count_homophones
from gmot.evaluation.tables import markdown_table


def console_lines(comparison: Comparison) -> list[str]:
    """One line per experiment, and one about the intervals."""
    first, *others = comparison.experiments
    name = f"%{comparison.metric.name}"
    group = f"[{comparison.group}] " if comparison.group else ""
    lines = [f"{group}{first.name}: {name} {_rate(first)}"]
    for c in others:
        corrected = f", corrected {c.corrected_p:.4f}" if len(others) > 1 else ""
        lines.append(
            f"{group}{c.name}: {name} {_rate(c)}, difference {_difference(c)}, "
            f"probability of improvement {c.improvement:.3f}, p {c.p:.4f}{corrected}"
        )
    return [*lines, f"{group}{_explanation(comparison)}"]


def _explanation(comparison: Comparison) -> str:
    number = len(comparison.experiments) - 1
    holm = f" P-values are corrected for {number} comparisons (Holm 1979), intervals are not."
    return (
        f"Differences are from {comparison.experiments[0].name}, paired by utterance, negative if "
        f"better. 95% intervals and p-values: {comparison.conditions}.{holm if number > 1 else ''}"
    )


def _rate(c: Compared) -> str:
    seeds = f", per seed {' '.join(f'{s.rate:.2f}' for s in c.scores)}" if len(c.scores) > 1 else ""
    return f"{c.rate:.2f} ({c.ci_low:.2f} .. {c.ci_high:.2f}){seeds}"


def _difference(c: Compared) -> str:
    return f"{c.difference:+.2f} ({c.low:+.2f} .. {c.high:+.2f})"


def table(comparison: Comparison, homophones: bool = False) -> str:
    """Markdown table with one row per experiment, optionally with substitutions by a homophone."""
    several = len(comparison.experiments) > 2
    homophones = homophones and comparison.metric.has_characters
    head = [
        "experiment",
        comparison.metric.name,
        "substitutions",
        *(["of them homophones"] if homophones else []),
    ]
    beside = ["difference", "improvement", "p", *(["corrected p"] if several else [])]
    rows = [[*head, *beside]]
    for i, c in enumerate(comparison.experiments):
        row = [c.name, _rate(c), f"{np.mean([s.sub for s in c.scores]):.5g}"]
        if homophones:
            counts = [sum(count_homophones(s.alignments.values()).values()) for s in c.scores]
            row.append(f"{np.mean(counts):.5g}")
        values = [_difference(c), f"{c.improvement:.3f}", f"{c.p:.4f}", f"{c.corrected_p:.4f}"]
        rows.append(row + (values[: len(beside)] if i else ["-"] * len(beside)))
    return markdown_table(rows)


def write_tables(
    path: PathLike, comparisons: Sequence[Comparison], how: str, homophones: bool = False
) -> None:
    """Write a Markdown file with a table per comparison and ``how``, their command or files."""
    sections = "".join(_section(comparison, homophones) for comparison in comparisons)
    with atomic_path(path) as temporary:
        temporary.write_text(f"# Comparison\n\n{sections}{how}\n", encoding="utf-8")


def _section(comparison: Comparison, homophones: bool) -> str:
    first = comparison.experiments[0].scores[0]
    return (
        f"## {comparison.title}\n\n{comparison.metric.name} in per cent over {first.ref_len} "
        f"{comparison.metric.noun} of {first.num_utterances} utterances, mean over the training "
        "seeds of an experiment. Improvement: bootstrap probability of fewer errors. "
        f"{_explanation(comparison)}\n\n{table(comparison, homophones)}\n\n"
    )
