"""State that a resumed training needs: random generators, and the same configuration."""

import random
from dataclasses import fields
from typing import Any

import torch

from gmot.common import GmotError, PathLike
from gmot.config import differences
from gmot.data.config import DataConfig
from gmot.training.config import TrainingConfig


def random_state() -> dict[str, Any]:
    """State of every generator that training draws from."""
    version, numbers, gauss = random.getstate()
    state: dict[str, Any] = {"python": [version, list(numbers), gauss]}
    state["torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def check_resumable(path: PathLike, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Check that a training of configuration ``new`` may go on from a checkpoint of ``old``.

    Raises:
      GmotError: they differ in more than fields made by :func:`may_change`; names each key, the
        old and the new value.
    """
    changeable = {
        f"{section}.{f.name}"
        for section, kind in (("training", TrainingConfig), ("data", DataConfig))
        for f in fields(kind)
        if f.metadata.get("may_change")
    }
    if new.get("training", {}).get("schedule") == "cosine":  # it ends with the last epoch
        changeable.discard("training.num_epochs")
    found = differences(old, new, changeable)
    if found:
        raise GmotError(
            f"{path}: made with another configuration ({'; '.join(found)}). Give the values of "
            "the checkpoint to go on with it, or train in another --exp-dir."
        )
