"""Comparisons as console lines and as Markdown."""

from typing import List

from gmot.common import PathLike, atomic_path
from gmot.comparison import Compared, Comparison
from gmot.results import markdown_table


def console_lines(comparison: Comparison) -> List[str]:
    """A line per system, and a line on the intervals."""
    first, *others = comparison.systems
    lines = [f"{first.name}: %CER {_with_interval(first)}{_per_seed(first)}"]
    for c in others:
        corrected = f", corrected {c.corrected_p:.4f}" if len(others) > 1 else ""
        lines.append(
            f"{c.name}: %CER {_with_interval(c)}{_per_seed(c)}, "
            f"difference {c.difference:+.2f} ({c.low:+.2f} .. {c.high:+.2f}), "
            f"probability of improvement {c.improvement:.3f}, p {c.p:.4f}{corrected}"
        )
    return [*lines, _explanation(comparison)]


def _explanation(comparison: Comparison) -> str:
    """What differences, intervals and p-values are."""
    number = len(comparison.systems) - 1
    several = (
        f" P-values are corrected for {number} comparisons (Holm 1979), intervals are not."
        if number > 1
        else ""
    )
    return (
        f"Differences are from {comparison.systems[0].name}, paired by utterance, negative where "
        f"the other is better. 95% intervals and p-values: {comparison.conditions}.{several}"
    )


def _with_interval(of: Compared) -> str:
    return f"{of.cer:.2f} ({of.ci_low:.2f} .. {of.ci_high:.2f})"


def _per_seed(of: Compared) -> str:
    if len(of.scores) == 1:
        return ""
    return f", per seed {' '.join(f'{s.cer:.2f}' for s in of.scores)}"


def table(comparison: Comparison) -> str:
    """Markdown: a row per system."""
    head = ["system", "CER", "substitutions", "of them homophones", "difference", "improvement"]
    several = len(comparison.systems) > 2
    rows = [[*head, "p", *(["corrected p"] if several else [])]]
    for i, c in enumerate(comparison.systems):
        its = [c.name, _with_interval(c) + _per_seed(c), f"{c.sub:.5g}", f"{c.homophone_sub:.5g}"]
        beside = [f"{c.difference:+.2f} ({c.low:+.2f} .. {c.high:+.2f})", f"{c.improvement:.3f}"]
        beside += [f"{c.p:.4f}", *([f"{c.corrected_p:.4f}"] if several else [])]
        rows.append(its + (beside if i else ["-"] * len(beside)))
    return markdown_table(rows)


def write_table(path: PathLike, comparison: Comparison, how: str) -> None:
    """Write a Markdown file.

    Args:
      path: of it.
      comparison: of :func:`compare`.
      how: command or files that it was made of.
    """
    first = comparison.systems[0].scores[0]
    with atomic_path(path) as temporary:
        temporary.write_text(
            "# Comparison\n\n"
            f"CER in per cent over {first.ref_len} characters of {first.num_utterances} "
            "utterances, mean over the training seeds of a system. Improvement: bootstrap "
            f"probability of fewer errors. {_explanation(comparison)}\n\n"
            f"{table(comparison)}\n\n{how}\n",
            encoding="utf-8",
        )
