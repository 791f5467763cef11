"""Processes of a training, started by torchrun: gloo on CPUs, nccl on GPUs."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gmot.common import GmotError


@dataclass(frozen=True)
class Process:
    """This process among those of a training."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # on this machine

    @classmethod
    def from_environment(cls) -> "Process":
        """As torchrun says in the environment; a single process without torchrun."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if any(name not in os.environ for name in names):
            return cls()
        return cls(*(int(os.environ[name]) for name in names))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        return self.world_size > 1

    def device_name(self, name: str) -> str:
        """``--device`` of this process: of several on one machine each takes a GPU of its own.

        Raises:
          GmotError: one GPU is named for several processes, or there are fewer than processes.
        """
        if not self.is_distributed or name == "cpu":
            return name
        if name == "auto" and not torch.cuda.is_available():
            return "cpu"
        if name not in ("auto", "cuda"):
            raise GmotError(f"--device {name}: expected cpu, cuda or auto with several processes.")
        if self.local_rank >= torch.cuda.device_count():
            raise GmotError(
                f"{torch.cuda.device_count()} GPUs for at least {self.local_rank + 1} processes of "
                "this machine. Start at most as many processes as it has GPUs (--nproc_per_node)."
            )
        return f"cuda:{self.local_rank}"

    def connect(self, device: torch.device) -> None:
        """Join the process group of torchrun."""
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if self.is_distributed:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def disconnect(self) -> None:
        """Leave the process group, if it was joined."""
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.is_distributed:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """``value`` of each process, in the order of the ranks."""
        if not self.is_distributed:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def barrier(self) -> None:
        if self.is_distributed:
            dist.barrier()
