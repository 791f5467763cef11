"""Batches: what a process computes at a time."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

PADDING = math.log(1e-10)  # log of no energy, below every stored value


@dataclass
class Batch:
    """N utterances of similar duration; none where an update has fewer than there are processes.

    Several batches of several processes make an update, a step of the optimizer.
    """

    ids: list[str]
    texts: list[str]
    durations: list[float]  # in seconds
    features: Tensor  # log-Mel energies (N, T, F), float32, not normalised, padded with PADDING
    lengths: Tensor  # frames per utterance, (N,) int64, T at most
    labels: Tensor | None = None  # token ids (N, S) int64, padded with 0
    label_lengths: Tensor | None = None  # (N,) int64, S at most
    teacher: Tensor | None = None  # features of the texts (N, L, D), float16, padded with 0
    teacher_lengths: Tensor | None = None  # (N,) int64, L at most
    update_size: int = 0  # utterances of its update, in all processes
    ends_update: bool = True  # last batch of its update in this process

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "Batch":
        """Copy on a device; from pinned memory without waiting."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Called by torch's DataLoader."""
        return self._map(lambda tensor: tensor.pin_memory()) if len(self) else self

    def halves(self) -> tuple["Batch", "Batch"]:
        """First and second half of at least two utterances, each with its own padding."""
        middle = len(self) // 2
        first, second = self._part(slice(middle)), self._part(slice(middle, None))
        first.ends_update = False
        return first, second

    def _map(self, change: Any) -> "Batch":
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors = {name: change(v) for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    def _part(self, rows: slice) -> "Batch":
        def cut(padded: Tensor | None, lengths: Tensor | None) -> tuple[Any, Any]:
            if padded is None or lengths is None:
                return None, None
            return padded[rows, : int(lengths[rows].max())], lengths[rows]

        features, lengths = cut(self.features, self.lengths)
        labels, label_lengths = cut(self.labels, self.label_lengths)
        teacher, teacher_lengths = cut(self.teacher, self.teacher_lengths)
        return Batch(
            *(self.ids[rows], self.texts[rows], self.durations[rows], features, lengths),
            *(labels, label_lengths, teacher, teacher_lengths),
            *(self.update_size, self.ends_update),
        )
