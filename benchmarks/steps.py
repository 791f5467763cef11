"""Training steps on speech-like batches, without a corpus: shared by the benchmarks of training.

Durations are log-normal around 4.5 s (AISHELL-1), with 3.2 labels per second; an utterance's frames
are segments of its labels' patterns in noise, and so are the teacher's features. Sizes are the
recipes' presets (``shared/conf``).
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.rows import load_row
from gmot.config import from_dict, load_yaml
from gmot.data.datamodule import PADDING, Batch
from gmot.model.config import ModelConfig
from gmot.model.ctc_model import CtcModel
from gmot.training.config import TrainingConfig
from gmot.training.distributed import Process
from gmot.training.guards import Evidence
from gmot.training.loss import LossModule
from gmot.training.update import Updater

ROOT = Path(__file__).resolve().parents[1]
FRAMES_PER_SECOND, LABELS_PER_SECOND = 100, 3.2
SYSTEMS = ("ctc", "cma_ot", "tot", "gm_ot", "uot", "hcm")


@dataclass(frozen=True)
class Size:
    """Model, teacher, and seconds of speech per batch (padding included)."""

    name: str
    model: ModelConfig
    seconds: float

    @property
    def hours(self) -> float:
        return self.seconds / 3600


# Vocabulary and width of the teacher: of the mini recipe, and of AISHELL with bert-base-chinese.
_SHAPES = {"tiny": (30, 32, 4.0), "small": (200, 384, 10.0), "paper": (4233, 768, 100.0)}


def load_size(name: str, seconds: float | None = None) -> Size:
    """A preset of ``shared/conf``; ``seconds`` of a batch instead of its own."""
    vocab_size, teacher_dim, default = _SHAPES[name]
    content = load_yaml(ROOT / "shared" / "conf" / f"{name}.yaml")["model"]
    model = from_dict(ModelConfig, content, "model.")
    model = replace(model, vocab_size=vocab_size, teacher_dim=teacher_dim)
    return Size(name, model, seconds or default)


def make_batches(size: Size, count: int, seed: int = 0) -> list[Batch]:
    """Batches of utterances of similar duration, from short to long."""
    generator = torch.Generator().manual_seed(seed)
    shape = size.model
    assert shape.teacher_dim is not None
    patterns = 3 * torch.randn(shape.vocab_size, shape.num_features, generator=generator)
    meanings = torch.randn(shape.vocab_size + 2, shape.teacher_dim, generator=generator)
    pool = torch.exp(0.35 * torch.randn(4000, generator=generator) + 1.45).clamp(1.5, 14).sort()[0]
    batches = []
    for place in range(count):
        start = int(len(pool) * (place + 0.5) / count)
        longest = float(pool[min(len(pool) - 1, start + 200)])
        number = max(1, int(size.seconds / longest))
        durations = pool[start - number : start].clamp(max=longest).tolist()
        items = [_utterance(d, patterns, meanings, generator) for d in durations]
        batches.append(_batch(items, durations))
    return batches


def _utterance(
    duration: float, patterns: Tensor, meanings: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (T, F), label ids (S,), teacher's features (S + 2, D)."""
    frames = int(duration * FRAMES_PER_SECOND)
    number = max(1, round(duration * LABELS_PER_SECOND))
    labels = torch.randint(2, len(patterns), (number,), generator=generator)
    segments = torch.arange(frames) * number // frames
    noise = torch.randn(frames, patterns.size(1), generator=generator)
    ends = torch.tensor([len(meanings) - 2, len(meanings) - 1])
    rows = meanings[torch.cat((ends[:1], labels, ends[1:]))]
    rows = rows + 0.5 * rows.mean(0) + 0.5 * torch.randn(rows.shape, generator=generator)
    return patterns[labels[segments]] + noise, labels, rows


def _batch(items: list[tuple[Tensor, Tensor, Tensor]], durations: list[float]) -> Batch:
    features, labels, teacher = zip(*items)
    count = len(items)

    def lengths(rows: Any) -> Tensor:
        return torch.tensor([len(row) for row in rows])

    return Batch(
        ids=[f"utterance{n}" for n in range(count)],
        texts=[""] * count,
        durations=durations,
        features=pad_sequence(list(features), batch_first=True, padding_value=PADDING),
        lengths=lengths(features),
        labels=pad_sequence(list(labels), batch_first=True),
        label_lengths=lengths(labels),
        teacher=pad_sequence(list(teacher), batch_first=True).half(),
        teacher_lengths=lengths(teacher),
        update_size=count,
    )


def make_updater(
    size: Size,
    system: str,
    device: torch.device,
    precision: torch.dtype | None = None,
    **changes: Any,
) -> Updater:
    """What the trainer makes its updates with; ``changes``: fields of the transfer."""
    torch.manual_seed(0)
    transfer = load_row(system, **changes)
    dim = size.model.teacher_dim if transfer.has_adapter else None
    shape = replace(size.model, teacher_dim=dim, adapter_scale=transfer.adapter_scale)
    module = LossModule(CtcModel(shape), transfer, precision).to(device).train()
    evidence = Evidence(Path(tempfile.gettempdir()))
    return Updater(module, TrainingConfig(), Process(), evidence)


def update(updater: Updater, batch: Batch, rate: float = 1e-4) -> None:
    """One update of the weights, metrics included."""
    updater([batch], {"epoch": 1, "update": 1, "step": 1}, rate)
    updater.evidence.clear()


def clock(device: torch.device) -> Callable[[], float]:
    """Wall clock after the device's work; on a CPU, seconds of the process on it.

    On a CPU that is shared, a process's own seconds are what it would take alone (with one
    thread, and but for what hyperthreads and caches share).
    """
    if device.type == "cpu":
        return time.process_time

    def read() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return read


def interleaved(
    calls: Mapping[str, Callable[[Batch], Any]],
    batches: list[Batch],
    rounds: int,
    now: Callable[[], float],
) -> dict[str, float]:
    """Seconds (:func:`clock`) of each call: least of each batch's rounds, mean over batches.

    They take turns on each batch, so that other load of the machine hits all alike.
    """
    least = {name: [float("inf")] * len(batches) for name in calls}
    for _ in range(rounds):
        for number, batch in enumerate(batches):
            for name, call in calls.items():
                started = now()
                call(batch)
                elapsed = now() - started
                least[name][number] = min(least[name][number], elapsed)
    return {name: sum(found) / len(found) for name, found in least.items()}
