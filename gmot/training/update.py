"""One update of the weights from the batches of all processes."""

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gmot.common import is_out_of_memory, seed_of
from gmot.data.datamodule import Batch
from gmot.training.config import TrainingConfig
from gmot.training.distributed import Process
from gmot.training.guards import Evidence
from gmot.training.loss import LossModule
from gmot.training.metrics import Metrics
from gmot.training.optim import guarded_step, make_optimizer, make_scaler


class Updater:
    """Forward and backward passes of an update, its gradient and the step of the optimizer.

    The gradient is that of the mean over the utterances of the update, whatever the number of
    processes and of batches. An update whose loss or gradient is not finite is skipped, without
    waiting for the device; a batch that exceeds the memory is halved.
    """

    def __init__(
        self, module: LossModule, config: TrainingConfig, process: Process, evidence: Evidence
    ):
        self.module, self.config, self.process, self.evidence = module, config, process, evidence
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.parameters, config.weight_decay)
        self.scaler = make_scaler(module.precision is torch.float16)
        self.wrapped: nn.Module = module
        if process.is_distributed:
            self.wrapped = DistributedDataParallel(module, broadcast_buffers=False)
        self.metrics = Metrics(module.part_names, module.device)
        self.num_halved = 0  # batches that exceeded the memory

    def __call__(self, batches: Sequence[Batch], place: dict[str, int], rate: float) -> None:
        """Update the weights.

        Args:
          batches: of this process.
          place: epoch, update in the epoch and step, each from 1.
          rate: learning rate.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Dropout depends on this alone: a resumed training needs no random states.
        key = (self.config.seed, place["epoch"], place["update"], self.process.rank)
        torch.manual_seed(seed_of(*key))  # of the generators of all devices
        pending = [batch for batch in batches if len(batch)]
        while (failed := self._accumulate(pending)) is not None:
            pending[failed : failed + 1] = self._smaller(pending[failed], place)
        if self.process.is_distributed:
            self._backward(self.wrapped(None))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        finite = torch.isfinite(norm)
        guarded_step(self.optimizer, finite)
        self.scaler.update()
        self.metrics.end_update(finite, norm)
        self.evidence.end_update(place, finite, norm)

    def _accumulate(self, batches: Sequence[Batch]) -> int | None:
        """Gradient of this process; index of the batch that exceeded the memory, if one did."""
        self.discard()
        for index, batch in enumerate(batches):
            try:
                self.accumulate(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return index
        return None

    def accumulate(self, batch: Batch) -> None:
        """Add the gradient of a batch."""
        distributed = isinstance(self.wrapped, DistributedDataParallel)
        alone = self.wrapped.no_sync() if distributed else contextlib.nullcontext()
        with alone:
            losses = self.wrapped(batch)
            # DistributedDataParallel divides by the number of processes.
            self._backward(losses.total.sum() * (self.process.world_size / batch.update_size))
        self.metrics.add(losses.parts)
        self.evidence.add(batch, losses)

    def discard(self) -> None:
        """Forget the batches of the current update."""
        self.optimizer.zero_grad(set_to_none=True)
        self.metrics.begin_update()
        self.evidence.begin_update()

    def _backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def _smaller(self, batch: Batch, place: dict[str, int]) -> list[Batch]:
        """Halves of a batch that exceeded the memory; none of a single utterance."""
        self.discard()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.num_halved += 1
        found = f"{len(batch)} utterances, {max(batch.durations):.1f} s the longest"
        if len(batch) > 1:
            logging.warning(
                "step %d: out of memory with %s: halved (%d batches so far). A smaller "
                "data.max_duration avoids it.",
                *(place["step"], found, self.num_halved),
            )
            return list(batch.halves())
        logging.warning("step %d: out of memory with one utterance, %s", place["step"], batch.ids)
        self.evidence.note({**place, "cause": f"out of memory: {found}", "ids": batch.ids})
        return []

    def state_dict(self) -> dict[str, Any]:
        """Moments of the optimizer and scale of the loss; options are those of the run."""
        moments = self.optimizer.state_dict()["state"]
        return {"optimizer": moments, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
