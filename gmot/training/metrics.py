"""Sums over an epoch, and TensorBoard (its only door)."""

from pathlib import Path
from typing import Any, Dict, Mapping

from gmot.common import PathLike


class Averages:
    """Means of named quantities, weighted by utterances."""

    def __init__(self) -> None:
        self._sums: Dict[str, float] = {}
        self._weights: Dict[str, float] = {}

    def add(self, values: Mapping[str, float], weight: float) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * weight
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def means(self) -> Dict[str, float]:
        return {name: total / self._weights[name] for name, total in self._sums.items()}


def describe(values: Mapping[str, float]) -> str:
    """``ctc 3.21, alignment 0.45`` for the log."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


class TensorBoard:
    """Scalars and pictures under ``exp/<system>/tensorboard``.

    What an earlier run wrote from ``first_step`` on is no longer shown.
    """

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
