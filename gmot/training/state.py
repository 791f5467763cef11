"""State of a training on disk: position, checkpoints, roles of configuration fields on resume."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike
from gmot.config import changeable, differences
from gmot.data.config import DataConfig
from gmot.model.checkpoint import (
    best_epochs,
    epoch_path,
    epochs_in,
    newest_checkpoint,
    read_checkpoint,
    remove_steps,
    remove_superseded,
    save_checkpoint,
    step_path,
)
from gmot.training.config import TrainingConfig

# Other entries of the configuration whose change is noted: texts and statistics of the corpus.
_NOTED = {"corpus"}


@dataclass
class Position:
    """Progress of a training."""

    epoch: int = 0  # last finished
    update: int = 0  # updates done of the next epoch
    step: int = 0  # updates done in all


def noted_changes(path: PathLike, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Changes between the configuration of a checkpoint and that of the training that resumes.

    Returns:
      ``key: old value there, new value here`` of each difference to be noted in the history.
    Raises:
      GmotError: they differ in a field that must match (:func:`gmot.config.may_change`); names
        each key, the old and the new value.
    """
    sections = (("training.", TrainingConfig), ("data.", DataConfig))
    free = set().union(*(changeable(kind, "free", name) for name, kind in sections))
    noted = _NOTED.union(*(changeable(kind, "noted", name) for name, kind in sections))
    if new.get("training", {}).get("schedule") == "cosine":  # it ends with the last epoch
        free.discard("training.num_epochs")
    refused = differences(old, new, free | noted)
    if refused:
        raise GmotError(
            f"{path}: made with another configuration ({'; '.join(refused)}). Give the values of "
            "the checkpoint to go on with it, or train in another --exp-dir (with --init-from to "
            "start from its weights)."
        )
    return differences(old, new, free)


def find_checkpoint(exp_dir: Path, source: str) -> tuple[Path, dict[str, Any]] | None:
    """Checkpoint to resume from, and its state.

    Args:
      source: ``auto``: the newest readable one in ``exp_dir``, if there is one; ``none``: none; or
        the path of a checkpoint.
    Raises:
      GmotError: with ``none``, there is a checkpoint, which would be overwritten.
    """
    if source not in ("auto", "none"):
        return Path(source), read_checkpoint(source)
    found = newest_checkpoint(exp_dir)
    if source == "none" and found is not None:
        raise GmotError(
            f"--resume none: {found[0]} would be overwritten. Delete the checkpoints of {exp_dir}, "
            "or train in another --exp-dir."
        )
    return found


def write_epoch(exp_dir: Path, state: dict[str, Any], keep_last: int, keep_best: int) -> None:
    """Write the checkpoint of an epoch; then delete those that need not be kept."""
    save_checkpoint(epoch_path(exp_dir, state["position"]["epoch"]), state)
    losses = state["dev_losses"]
    found = {n: losses[str(n)] for n in epochs_in(exp_dir) if str(n) in losses}
    remove_superseded(exp_dir, keep_last, best_epochs(found, keep_best))


def write_step(exp_dir: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint within an epoch; then delete older ones."""
    path = step_path(exp_dir, state["position"]["step"])
    save_checkpoint(path, state)
    remove_steps(exp_dir)
    logging.info("%s written", path)
