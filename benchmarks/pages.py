"""Markdown pages that several benchmarks write their sections into."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmot.common import write_lines
from gmot.evaluation.tables import markdown_table

_PATHS = ("--wenet", "--output", "--gpu", "--kernel")  # options with paths of this machine


def table(header: str, rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table; ``header``: its columns, separated by bars."""
    return markdown_table([header.split("|"), *([*map(str, row)] for row in rows)]).splitlines()


def command_line() -> str:
    """Command of this process, without paths of this machine."""
    words = sys.argv[1:]
    kept = ["PATH" if before in _PATHS else word for before, word in zip(["", *words], words)]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *kept])


def replace_section(path: Path, heading: str, lines: Sequence[str]) -> None:
    """Put ``lines``, of which ``heading`` is the first, in place of its section or at the end."""
    level = heading.split(" ")[0] + " "
    old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    old += [""] if old and old[-1] else []
    start = old.index(heading) if heading in old else len(old)
    end = next((n for n in range(start + 1, len(old)) if old[n].startswith(level)), len(old))
    new = [*old[:start], *lines, "", *old[end:]]
    write_lines(path, new if new[-1] else new[:-1])
