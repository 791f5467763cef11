"""Means over an epoch; TensorBoard (imported here only)."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from gmot.common import PathLike


class Averages:
    """Means of named quantities over utterances."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._weights: dict[str, float] = defaultdict(float)

    def add(self, values: Mapping[str, float], weight: float) -> None:
        for name, value in values.items():
            self._sums[name] += float(value) * weight
            self._weights[name] += weight

    def means(self) -> dict[str, float]:
        return {name: total / self._weights[name] for name, total in self._sums.items()}


def describe(values: Mapping[str, float]) -> str:
    """``ctc 3.21, alignment 0.45`` for the log."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def open_board(folder: PathLike, first_step: int) -> Any:
    """SummaryWriter that hides what earlier runs wrote from ``first_step`` on."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)


def write_scalars(board: Any, group: str, values: Mapping[str, float], step: int) -> None:
    for name, value in values.items():
        board.add_scalar(f"{group}/{name}", value, step)
