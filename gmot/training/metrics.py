"""Means over an epoch; TensorBoard (imported here only)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gmot.common import PathLike


class Averages:
    """Means of named quantities over utterances."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}

    def add(self, values: Mapping[str, float], weight: float) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * weight
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        return {name: total / self._weights[name] for name, total in self._sums.items()}


def describe(values: Mapping[str, float]) -> str:
    """``ctc 3.21, alignment 0.45`` for the log."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


class TensorBoard:
    """Scalars and figures of a training; hides those of earlier runs from ``first_step`` on."""

    def __init__(self, folder: PathLike, first_step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(Path(folder)), purge_step=first_step)

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def figure(self, name: str, figure: Any, step: int) -> None:
        self._writer.add_figure(name, figure, step)

    def close(self) -> None:
        self._writer.close()
