"""Configuration of optimizer, schedule, precision, checkpoints and guards."""

from dataclasses import dataclass
from typing import Literal

from gmot.config import check_choices, check_positive, check_range, may_change


@dataclass(frozen=True)
class TrainingConfig:
    """Optimizer, schedule and checkpoints. Defaults: the papers', where they name them."""

    num_epochs: int = may_change(130)
    """Epochs. A training with the cosine schedule, which ends with the last epoch, cannot be
    resumed with another number."""
    base_lr: float = may_change(0.001, noted=True)
    """Highest learning rate; 0.002 in UOT."""
    warmup_steps: int = may_change(20000, noted=True)
    """Updates of linear warm-up."""
    schedule: Literal["noam", "cosine"] = "noam"
    """Decay after the warm-up: noam falls with 1/sqrt(step), cosine to 0 at the last epoch."""
    weight_decay: float = may_change(0.0, noted=True)
    """Weight decay of AdamW; 0: the papers' Adam."""
    clip_norm: float = may_change(5.0, noted=True)
    """Largest norm of the gradient."""
    precision: Literal["auto", "float32", "bf16", "fp16"] = may_change("auto", noted=True)
    """Precision of the model's matrix products: auto is bf16 on GPUs that have it, else float32.
    Transport, CTC and log-softmax are float32 always."""
    tf32: bool = may_change(True, noted=True)
    """Use TF32 for float32 matrix products of the model on GPUs that have it."""
    compile: bool = may_change(False)
    """Compile the encoder (torch 2)."""
    ema_decay: float = may_change(0.999, noted=True)
    """Decay per update of the running average of the weights, which decode.py --average ema uses;
    0: none."""
    keep_last: int = may_change(10)
    """Checkpoints kept, for averaging."""
    keep_best: int = may_change(1)
    """Checkpoints of lowest dev loss, kept beside the last ones."""
    save_steps: int = may_change(0)
    """Updates between checkpoints within an epoch; 0: none by number of updates."""
    save_minutes: float = may_change(30.0)
    """Minutes between checkpoints within an epoch; 0: none by time."""
    log_interval: int = may_change(10)
    """Updates between reads of the metrics from the device."""
    max_skipped: int = may_change(20)
    """Updates skipped in a row (non-finite loss or gradient) that stop the training."""
    seed: int = 42
    """Seed of initial values, order of the data, dropout and augmentation."""

    def __post_init__(self) -> None:
        infinity = float("inf")
        check_choices(self)
        check_positive(self, "num_epochs", "keep_last", "clip_norm", "log_interval", "max_skipped")
        check_range(self, 0, infinity, "base_lr", "warmup_steps", "weight_decay", "seed")
        check_range(self, 0, infinity, "keep_best", "save_steps", "save_minutes")
        check_range(self, 0, 0.99999, "ema_decay")
