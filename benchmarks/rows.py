"""Transfer configurations of the recipes by file name, for benchmarks and tests."""

from dataclasses import replace
from pathlib import Path

from gmot.transfer.config import TransferConfig

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    path.stem: path
    for recipe in ("mini", "aishell")
    for path in sorted((ROOT / "egs" / recipe / "conf").glob("*.yaml"))
}
ROWS = {name: TransferConfig.load(path) for name, path in FILES.items()}


def load_row(name: str, **changes) -> TransferConfig:
    """Configuration ``name``.yaml of AISHELL or mini, with other values."""
    return replace(ROWS[name], **changes)
