"""Configuration of optimizer, schedule and checkpoints."""

from dataclasses import dataclass
from typing import Literal

from gmot.config import check_choices, check_positive, check_range, may_change


@dataclass(frozen=True)
class TrainingConfig:
    """Optimizer, schedule and checkpoints. Defaults: the papers', where they name them."""

    num_epochs: int = may_change(130)
    """Epochs. A training with the cosine schedule, which ends with the last epoch, cannot be
    resumed with another number."""
    base_lr: float = 0.001
    """Highest learning rate; 0.002 in UOT."""
    warmup_steps: int = 20000
    """Updates of linear warm-up."""
    schedule: Literal["noam", "cosine"] = "noam"
    """Decay after the warm-up: noam falls with 1/sqrt(step), cosine to 0 at the last epoch."""
    weight_decay: float = 0.0
    """Weight decay of AdamW; 0: the papers' Adam."""
    clip_norm: float = 5.0
    """Largest norm of the gradient."""
    keep_last: int = may_change(10)
    """Checkpoints kept, for averaging."""
    seed: int = 42
    """Seed of initial values, order of the data and augmentation."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_positive(self, "num_epochs", "keep_last", "clip_norm")
        check_range(self, 0, float("inf"), "base_lr", "warmup_steps", "weight_decay", "seed")
