"""Adam with warm-up and decay.

The papers name Adam, a rate and 20,000 warm-up steps. Ours: the shape of the schedule, Adam's
second beta of 0.98 (Vaswani et al., 2017; torch's default is 0.999), and the batch size
(``data.max_duration``), which determines how much speech the warm-up covers.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_TORCH = tuple(map(int, torch.__version__.split(".")[:2]))


def learning_rate(
    step: int, progress: float, base_lr: float, warmup_steps: int, schedule: str
) -> float:
    """Learning rate of an update.

    Args:
      step: from 1.
      progress: finished share of the training, 0 to 1.
      base_lr: highest rate, about reached at the end of the linear warm-up.
      schedule: ``noam`` falls with 1/sqrt(step) and is our reading of the papers' "schedule with
        20,000 warm-up steps"; ``cosine`` falls to 0 at the end of the training.
    """
    warmup = min(1.0, step / max(1, warmup_steps))
    if schedule == "noam":
        return base_lr * warmup * min(1.0, math.sqrt(max(1, warmup_steps) / step))
    return base_lr * warmup * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(parameters: Sequence[nn.Parameter], weight_decay: float) -> torch.optim.AdamW:
    """AdamW, the papers' Adam when ``weight_decay`` is 0; its rate is set before every step.

    Fused where torch has it, else by foreach.
    """
    kind = {"fused": True} if fuses(parameters[0].device) else {"foreach": True}
    return torch.optim.AdamW(
        parameters, lr=0.0, betas=(0.9, 0.98), weight_decay=weight_decay, **kind
    )


def fuses(device: torch.device) -> bool:
    """Whether torch has a fused AdamW: on GPUs since 2.0, on CPUs since 2.4."""
    return ((2, 0) if device.type == "cuda" else (2, 4)) <= _TORCH


def guarded_step(optimizer: torch.optim.AdamW, finite: Tensor) -> None:
    """Step of the optimizer, unless ``finite`` (a bool without dimensions) is false.

    A fused optimizer decides it on the device, as with torch's GradScaler; others wait for it.
    """
    if optimizer.defaults.get("fused"):
        optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
        optimizer.step()
    elif bool(finite):
        optimizer.step()


def make_scaler(enabled: bool) -> Any:
    """torch's GradScaler, for fp16 on a GPU."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cuda", enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)
