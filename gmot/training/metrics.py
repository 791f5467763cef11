"""Sums of metrics on the device, read every few updates; TensorBoard."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmot.common import PathLike
from gmot.training.distributed import Process


class Reading(NamedTuple):
    """Metrics of the updates since the last reading, over all processes."""

    sums: list[float]  # per name, then the number of utterances
    means: dict[str, float]  # per utterance
    gradient_norm: float  # mean over the updates that were not skipped
    skipped: int  # updates with a non-finite loss or gradient
    skipped_in_a_row: int  # so far
    host: list[float]  # sums of the values given to Metrics.read


class Metrics:
    """Sums over utterances on ``device``; nothing waits for it but :meth:`read`.

    ``names``: quantities per utterance.
    """

    def __init__(self, names: Iterable[str], device: torch.device):
        self.names, self.device = list(names), device
        self._update = self._zeros(len(self.names) + 1)  # and the number of utterances
        self._window = torch.zeros_like(self._update)
        self._steps = self._zeros(3)  # updates, gradient norms, skipped updates
        self._in_a_row = self._zeros(1)

    def _zeros(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float64, device=self.device)

    def begin_update(self) -> None:
        self._update.zero_()

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Add quantities (N,) of a batch of N utterances."""
        columns = torch.stack([parts[name].double() for name in self.names])
        self._update[:-1] += columns.sum(1)
        self._update[-1] += columns.size(1)

    def end_update(self, finite: Tensor, norm: Tensor) -> None:
        """Count the update; its sums are left out where it was skipped.

        Args:
          finite: whether the update was made, a bool without dimensions.
          norm: of its gradient.
        """
        zero = torch.zeros_like(self._update)
        self._window += torch.where(finite, self._update, zero)
        norm = torch.where(finite, norm.double(), zero[0])
        self._steps += torch.stack([finite.double(), norm, (~finite).double()])
        self._in_a_row = torch.where(finite, zero[:1], self._in_a_row + 1)

    def read(self, process: Process, host: Sequence[float]) -> Reading:
        """Sums since the last reading, over all processes; waits for the device.

        ``host``: values of this process to be summed alongside.
        """
        own = torch.tensor(host, dtype=torch.float64).to(self.device)
        found = process.sum(torch.cat([self._window, self._steps, own]))
        values = torch.cat([found, self._in_a_row]).tolist()
        sums, values = values[: len(self._window)], values[len(self._window) :]
        updates, norm, skipped = (value / process.world_size for value in values[:3])
        self._window.zero_()
        self._steps.zero_()
        return Reading(
            sums=sums,
            means=means(self.names, sums),
            gradient_norm=norm / max(1.0, updates),
            skipped=round(skipped),
            skipped_in_a_row=round(values[-1]),
            host=values[3:-1],
        )


def means(names: Sequence[str], sums: Sequence[float]) -> dict[str, float]:
    """Means per utterance of sums as in :class:`Reading`; empty without utterances."""
    return {name: total / sums[-1] for name, total in zip(names, sums)} if sums[-1] else {}


def open_board(folder: PathLike, first_step: int) -> Any:
    """SummaryWriter that hides what earlier runs wrote from ``first_step`` on."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)


def write_scalars(board: Any, group: str, values: Mapping[str, float], step: int) -> None:
    for name, value in values.items():
        board.add_scalar(f"{group}/{name}", value, step)
