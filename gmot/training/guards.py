"""Guards of a training: skipped updates and their evidence, memory, one training per folder."""

import fcntl
import json
import logging
import math
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmot.common import GmotError, is_out_of_memory
from gmot.data.datamodule import Batch
from gmot.provenance import SKIPPED
from gmot.training.loss import LEAST_CTC, Losses


@dataclass
class _Record:
    """Losses of a batch of an update, on the device."""

    ids: list[str]
    total: Tensor  # (N,)
    ctc: Tensor  # (N,)


class Evidence:
    """Utterances of the last updates; those of skipped ones go to ``skipped.jsonl``.

    A line per update and process: epoch, update in the epoch, step, cause, ids of the utterances
    with a bad loss (all ids where only the gradient is not finite), gradient norm.
    """

    def __init__(self, exp_dir: Path, rank: int = 0):
        self.path, self.rank = exp_dir / SKIPPED, rank
        self._updates: list[tuple[dict[str, int], list[_Record], Tensor, Tensor]] = []
        self._batches: list[_Record] = []

    def add(self, batch: Batch, losses: Losses) -> None:
        """Remember a batch of the current update."""
        record = _Record(batch.ids, losses.total.detach(), losses.parts["ctc"])
        self._batches.append(record)

    def begin_update(self) -> None:
        self._batches = []

    def end_update(self, place: dict[str, int], finite: Tensor, norm: Tensor) -> None:
        """``place``: epoch, update and step."""
        self._updates.append((place, self._batches, finite, norm.detach()))

    def clear(self) -> None:
        self._updates = []

    def write(self) -> str:
        """Write the skipped ones of the remembered updates; returns the last cause."""
        cause = ""
        for place, batches, finite, norm in self._updates:
            if bool(finite):
                continue
            found = [item for record in batches for item in _bad(record)]
            if found:
                cause = "; ".join(f"{name}: {text}" for name, text in found[:3])
                ids = [name for name, _ in found]
            else:
                ids = [name for record in batches for name in record.ids]
                cause = f"gradient norm {norm.item():g} with finite losses"
            self.note({**place, "cause": cause, "ids": ids, "gradient_norm": norm.item()})
        self.clear()
        return cause

    def note(self, facts: dict[str, Any]) -> None:
        """Append a line of facts."""
        line = json.dumps({"rank": self.rank, **facts}, ensure_ascii=False)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _bad(record: _Record) -> Iterator[tuple[str, str]]:
    """(id, cause) of the utterances with a non-finite loss or a negative CTC loss."""
    pairs = zip(record.ids, record.total.tolist(), record.ctc.tolist())
    for name, total, ctc in pairs:
        if ctc < LEAST_CTC:
            yield name, f"negative CTC loss {ctc:g}"
        elif not abs(ctc) < float("inf"):
            yield name, f"CTC loss {ctc:g}"
        elif not abs(total) < float("inf"):
            yield name, f"loss {total:g}, CTC loss {ctc:g}"


def dry_run(updater: Any, batches: Sequence[Batch], max_duration: float) -> None:
    """Forward and backward passes of the largest batches, which change nothing.

    Args:
      updater: of the training (:class:`gmot.training.update.Updater`).
      batches: of this process.
      max_duration: of the batches, for the message.
    Raises:
      GmotError: they do not fit in memory; proposes a data.max_duration that does.
    """
    updater.module.train()
    moments = []
    if not updater.optimizer.state:  # what Adam will need
        moments = [torch.empty_like(p) for p in updater.parameters for _ in range(2)]
    halvings = max(updater.process.gather(_halvings_to_fit(updater, batches)))
    del moments
    share = 0.5**halvings
    if share == 1:
        return
    remedy = f"data.max_duration {max_duration * share:g} fits"
    if share == 0:
        remedy = "not even one utterance fits. Lower data.max_utterance or the size of the model"
    raise GmotError(
        f"the largest batch (data.max_duration {max_duration:g}) does not fit in the memory of "
        f"{updater.module.device}: {remedy}. It may be changed on resume; with a given "
        "data.update_duration the updates stay the same."
    )


def _halvings_to_fit(updater: Any, batches: Sequence[Batch]) -> float:
    """Halvings after which each batch fits; infinite: not even one utterance does."""
    halvings = 0
    for batch in batches:
        for _ in range(halvings):
            batch = batch.halves()[0] if len(batch) > 1 else batch
        while not _fits(updater, batch):
            if len(batch) == 1:
                return math.inf
            batch, halvings = batch.halves()[0], halvings + 1
    return halvings


def _fits(updater: Any, batch: Batch) -> bool:
    try:
        updater.accumulate(batch)
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        updater.discard()


@contextmanager
def exclusive(exp_dir: Path) -> Iterator[None]:
    """Lock of the folder of an experiment, which ends with the process.

    Raises:
      GmotError: another training uses the folder.
    """
    path = exp_dir / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise GmotError(
                f"{exp_dir}: another training is using it ({file.read().strip()}). Wait for it or "
                "stop it, or train in another --exp-dir."
            ) from None
        except OSError as error:
            logging.warning("%s cannot be locked (%s): start no second training", path, error)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
