"""Tables of Kaldi-style folders."""

from pathlib import Path


def table(path: Path) -> dict[str, str]:
    """Value by key, in the order of the file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}
