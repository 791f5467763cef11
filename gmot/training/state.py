"""State that a resumed training needs: random generators, and the same configuration."""

import random
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from gmot.common import GmotError, PathLike
from gmot.config import differences
from gmot.data.config import DataConfig
from gmot.model.config import ModelConfig
from gmot.training.config import TrainingConfig
from gmot.transfer.config import TransferConfig

# Sections of a checkpoint's configuration that options set. The other entries (fingerprints of
# tokens, tokenizer, teacher and corpus, names of splits) must match, too.
SECTIONS = {
    "transfer": TransferConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "data": DataConfig,
}


def random_state() -> dict[str, Any]:
    """State of every generator that training draws from."""
    version, numbers, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def changeable(config: Mapping[str, Any]) -> set[str]:
    """Dotted keys that may differ from those of the training to be resumed."""
    keys = {
        f"{section}.{f.name}"
        for section, kind in SECTIONS.items()
        for f in fields(kind)
        if f.metadata.get("may_change")
    }
    if config.get("training", {}).get("schedule") == "cosine":  # it ends with the last epoch
        keys.discard("training.num_epochs")
    return keys


def check_resumable(path: PathLike, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Check that a training may go on from a checkpoint.

    Args:
      path: of the checkpoint.
      old: its configuration.
      new: that of the training.

    Raises:
      GmotError: they differ; names each key, the old and the new value.
    """
    found = differences(old, new, changeable(new))
    if found:
        raise GmotError(
            f"{path}: made with another configuration ({'; '.join(found)}). Give the values of "
            "the checkpoint to go on with it, or train in another --exp-dir."
        )
