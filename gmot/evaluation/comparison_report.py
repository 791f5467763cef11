"""Comparisons as log lines and Markdown tables."""

import numpy as np

from gmot.common import PathLike, atomic_path
from gmot.evaluation.comparison import Compared, Comparison
from gmot.evaluation.homophones import count_homophones
from gmot.evaluation.report import markdown_table


def console_lines(comparison: Comparison) -> list[str]:
    """One line per experiment, and one about the intervals."""
    first, *others = comparison.experiments
    lines = [f"{first.name}: %CER {_cer(first)}"]
    for c in others:
        corrected = f", corrected {c.corrected_p:.4f}" if len(others) > 1 else ""
        lines.append(
            f"{c.name}: %CER {_cer(c)}, difference {_difference(c)}, "
            f"probability of improvement {c.improvement:.3f}, p {c.p:.4f}{corrected}"
        )
    return [*lines, _explanation(comparison)]


def _explanation(comparison: Comparison) -> str:
    number = len(comparison.experiments) - 1
    holm = f" P-values are corrected for {number} comparisons (Holm 1979), intervals are not."
    return (
        f"Differences are from {comparison.experiments[0].name}, paired by utterance, negative if "
        f"better. 95% intervals and p-values: {comparison.conditions}.{holm if number > 1 else ''}"
    )


def _cer(c: Compared) -> str:
    seeds = f", per seed {' '.join(f'{s.cer:.2f}' for s in c.scores)}" if len(c.scores) > 1 else ""
    return f"{c.cer:.2f} ({c.ci_low:.2f} .. {c.ci_high:.2f}){seeds}"


def _difference(c: Compared) -> str:
    return f"{c.difference:+.2f} ({c.low:+.2f} .. {c.high:+.2f})"


def table(comparison: Comparison, homophones: bool = False) -> str:
    """Markdown table with one row per experiment, optionally with substitutions by a homophone."""
    several = len(comparison.experiments) > 2
    head = ["experiment", "CER", "substitutions", *(["of them homophones"] if homophones else [])]
    beside = ["difference", "improvement", "p", *(["corrected p"] if several else [])]
    rows = [[*head, *beside]]
    for i, c in enumerate(comparison.experiments):
        row = [c.name, _cer(c), f"{np.mean([s.sub for s in c.scores]):.5g}"]
        if homophones:
            counts = [sum(count_homophones(s.alignments.values()).values()) for s in c.scores]
            row.append(f"{np.mean(counts):.5g}")
        values = [_difference(c), f"{c.improvement:.3f}", f"{c.p:.4f}", f"{c.corrected_p:.4f}"]
        rows.append(row + (values[: len(beside)] if i else ["-"] * len(beside)))
    return markdown_table(rows)


def write_table(path: PathLike, comparison: Comparison, how: str, homophones: bool = False) -> None:
    """Write a Markdown file with the table and ``how``, the command or files of the comparison."""
    first = comparison.experiments[0].scores[0]
    text = (
        f"# Comparison\n\nCER in per cent over {first.ref_len} characters of "
        f"{first.num_utterances} utterances, mean over the training seeds of an experiment. "
        f"Improvement: bootstrap probability of fewer errors. {_explanation(comparison)}\n\n"
        f"{table(comparison, homophones)}\n\n{how}\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
