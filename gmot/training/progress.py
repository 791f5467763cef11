"""Progress of a training: clock, console line, TensorBoard."""

import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from gmot.analysis.plots import draw_couplings
from gmot.training.dev import Coupling
from gmot.training.labels import Labels
from gmot.training.metrics import Reading, open_board, write_scalars


class Clock:
    """Seconds since the last reading: of speech, of waiting for data, of all."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.speech = self.waited = 0.0
        self.started = time.monotonic()

    def waiting(self, items: Iterator[Any]) -> Iterator[Any]:
        """Items, timed."""
        while True:
            asked = time.monotonic()
            item = next(items, None)
            self.waited += time.monotonic() - asked
            if item is None:
                return
            yield item

    def read(self) -> list[float]:
        found = [self.speech, self.waited, max(1e-9, time.monotonic() - self.started)]
        self._begin()
        return found


class Board:
    """TensorBoard of a training; steps of an unfinished epoch are written again."""

    def __init__(self, folder: Path, first_step: int, config: dict[str, Any]):
        self._writer = open_board(folder, first_step)
        lines = json.dumps(config, indent=1, ensure_ascii=False).splitlines()
        code = "\n".join(f"    {line}" for line in lines)  # a block of code in Markdown
        self._writer.add_text("configuration", code, first_step)

    def write_reading(
        self, reading: Reading, rate: float, world_size: int, device: torch.device, step: int
    ) -> None:
        """Metrics of the last updates; ``reading.host`` is that of a :class:`Clock`."""
        speech, waited, spent = reading.host[:3]
        values = {
            **reading.means,
            "gradient_norm": reading.gradient_norm,
            "skipped": reading.skipped,
            "learning_rate": rate,
            "speech_per_second": speech / (spent / world_size),
            "data_wait": waited / spent,
            "memory_gb": peak_memory(device),
        }
        write_scalars(self._writer, "train", values, step)

    def write_epoch(
        self, dev: dict[str, float], couplings: Sequence[Coupling], labels: Labels, step: int
    ) -> None:
        write_scalars(self._writer, "dev", dev, step)
        if couplings:
            figure = draw_couplings(
                [c.plan for c in couplings],
                [len(c.plan) for c in couplings],
                [["[CLS]", *labels.tokenize(c.text), "[SEP]"] for c in couplings],
                titles=[c.id for c in couplings],
            )
            self._writer.add_figure("couplings", figure, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def grouped_by_update(batches: Iterable[Any]) -> Iterator[list[Any]]:
    """Batches of this process per update."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if batch.ends_update:
            yield group
            group = []


def epoch_line(
    epoch: int, num_epochs: int, train: dict[str, float], dev: dict[str, float], seconds: float
) -> str:
    """Line of an epoch for the console, within 120 columns with its date."""
    names = [name for name in ("loss", "ctc", "alignment", "transport") if name in train]
    if len(names) == 2:
        names = names[:1]  # CTC alone
    parts = " ".join(f"{name} {train[name]:.3g}" for name in names)
    found = " ".join(f"{name} {dev[name]:.3g}" for name in ("loss", "cer"))
    return f"epoch {epoch}/{num_epochs}: {parts} | dev {found} | {seconds:.0f} s"


def peak_memory(device: torch.device) -> float:
    """Largest memory so far in GB: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
