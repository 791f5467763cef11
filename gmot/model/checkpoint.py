"""Checkpoints: atomic writes, the newest readable one, averages.

``epoch-N.pt`` holds the state after epoch N (from 1), ``step-N.pt`` that after update N within an
epoch: model, ``transfer`` (modules of the objective, dropped at inference), ``ema`` (running
average of the model), optimizer, position and the nested configuration: tensors, numbers and
strings only, so that any torch loads it.
"""

import logging
import pickle
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch

from gmot.common import GmotError, PathLike, save_tensors
from gmot.config import differences, from_dict
from gmot.model.config import ModelConfig
from gmot.model.ctc_model import CtcModel

Average = Literal["last", "best", "ema"]
KEEP_STEPS = 2  # checkpoints within an epoch
# Parts of the configuration that make weights comparable.
_IDENTITY = ("model", "transfer", "tokens", "teacher")


def epoch_path(exp_dir: PathLike, epoch: int) -> Path:
    return Path(exp_dir) / f"epoch-{epoch}.pt"


def step_path(exp_dir: PathLike, step: int) -> Path:
    return Path(exp_dir) / f"step-{step}.pt"


def epochs_in(exp_dir: PathLike) -> list[int]:
    """Epochs that have a checkpoint, ascending."""
    return _numbers(exp_dir, "epoch")


def steps_in(exp_dir: PathLike) -> list[int]:
    """Steps that have a checkpoint, ascending: those of an unfinished epoch."""
    return _numbers(exp_dir, "step")


def _numbers(exp_dir: PathLike, kind: str) -> list[int]:
    found = (re.fullmatch(rf"{kind}-(\d+)\.pt", p.name) for p in Path(exp_dir).glob(f"{kind}-*.pt"))
    return sorted(int(match.group(1)) for match in found if match)


def save_checkpoint(path: PathLike, state: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary name, flush it to the disk, then rename it.

    Raises:
      GmotError: the disk is full or fails; what ``path`` held before is still there.
    """
    try:
        save_tensors(path, state)
    except OSError as error:
        free = shutil.disk_usage(Path(path).parent).free
        raise GmotError(
            f"{path}: cannot be written ({error.strerror}; {free / 1e6:.0f} MB are free). Earlier "
            "checkpoints are kept: free some space, and run the same command again to resume."
        ) from None


def read_checkpoint(path: PathLike) -> dict[str, Any]:
    """Load one checkpoint to the CPU: tensors and plain containers, no other objects.

    Raises:
      GmotError: missing, broken, or not a checkpoint of gmot.
    """
    if not Path(path).is_file():
        raise GmotError(f"{path}: no such checkpoint. Train first, or name another epoch.")
    # torch 1.13's weights_only cannot read numbers.
    safe: dict[str, Any] = {"weights_only": True}
    if torch.__version__.startswith("1."):
        safe = {"pickle_module": _PlainPickle}
    try:
        state = torch.load(path, map_location="cpu", **safe)
    except Exception as error:  # torch raises many kinds
        text = str(error).strip().splitlines() or [type(error).__name__]
        raise GmotError(f"{path}: not a readable checkpoint ({text[0]}). Delete it.") from None
    if not isinstance(state, dict) or "model" not in state or "config" not in state:
        raise GmotError(f"{path}: not a checkpoint of gmot (no 'model' and 'config' in it).")
    return state


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler of tensors and plain containers."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = module == "torch" and (name.endswith("Storage") or name == "Size")
        allowed |= (module, name) in {
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_parameter"),
            ("collections", "OrderedDict"),
        }
        if not allowed:
            raise pickle.UnpicklingError(f"{module}.{name} in it is neither tensor nor container")
        return super().find_class(module, name)


class _PlainPickle:
    """``pickle_module`` of torch.load."""

    Unpickler = _PlainUnpickler
    load = staticmethod(lambda file, **options: _PlainUnpickler(file, **options).load())


def newest_checkpoint(exp_dir: PathLike) -> tuple[Path, dict[str, Any]] | None:
    """The newest readable checkpoint of a training; None if there is none at all.

    Checkpoints of an unfinished epoch are newer than those of epochs.

    Raises:
      GmotError: there are checkpoints, but none is readable.
    """
    paths = [step_path(exp_dir, step) for step in reversed(steps_in(exp_dir))]
    paths += [epoch_path(exp_dir, epoch) for epoch in reversed(epochs_in(exp_dir))]
    for path in paths:
        try:
            return path, read_checkpoint(path)
        except GmotError as error:
            logging.warning("%s The one before it is used.", error)
    if paths:
        raise GmotError(
            f"{exp_dir}: none of its {len(paths)} checkpoints is readable. Delete them."
        )
    return None


def remove_superseded(exp_dir: PathLike, keep_last: int, best: Iterable[int] = ()) -> None:
    """After an epoch: delete all epochs but ``best`` and the last ``keep_last``, and all steps."""
    epochs = epochs_in(exp_dir)
    for epoch in set(epochs[:-keep_last]).difference(best):
        epoch_path(exp_dir, epoch).unlink()
    remove_steps(exp_dir, 0)


def remove_steps(exp_dir: PathLike, keep: int = KEEP_STEPS) -> None:
    """Delete the checkpoints of steps but the last ``keep``."""
    steps = steps_in(exp_dir)
    for step in steps[: len(steps) - keep]:
        step_path(exp_dir, step).unlink()


def average_states(states: Iterable[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Mean of floating-point entries (in float64); others come from the first state.

    States of an iterator are in memory one at a time.
    """
    averaged: dict[str, torch.Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for count, state in enumerate(states, start=1):
        for key, value in state.items():
            if count == 1:
                dtypes[key] = value.dtype
                to = torch.float64 if value.is_floating_point() else value.dtype
                averaged[key] = value.to(to, copy=True)
            elif value.is_floating_point():
                averaged[key] += value
        del state, value  # before the next one is read
    for key, dtype in dtypes.items():
        if dtype.is_floating_point:
            averaged[key] = (averaged[key] / count).to(dtype)
    return averaged


def load_for_decoding(
    exp_dir: PathLike,
    epoch: int | None = None,
    avg: int = 1,
    device: str = "cpu",
    average: Average = "last",
) -> tuple[CtcModel, dict[str, Any]]:
    """Model for decoding, averaged over checkpoints that are read one after the other.

    Args:
      epoch: last epoch to use; None: the last checkpoint.
      avg: number of epochs; not of ``ema``.
      average: ``last``: epochs ``epoch - avg + 1 ... epoch``; ``best``: the ``avg`` epochs up to
        ``epoch`` of lowest dev loss; ``ema``: the running average of the weights at ``epoch``.
    Returns:
      The model in evaluation mode, and the configuration of its training, ``epoch``, ``avg`` and
      ``average``.
    Raises:
      GmotError: a checkpoint is missing or belongs to another training.
    """
    found = epochs_in(exp_dir)
    if not found:
        raise GmotError(f"{exp_dir}: no epoch-N.pt in it. Train first (stage 8).")
    epoch = found[-1] if epoch is None else epoch
    wanted = _best(exp_dir, found, epoch, avg) if average == "best" else None
    if wanted is None:
        wanted = list(range(epoch - (1 if average == "ema" else avg) + 1, epoch + 1))
    absent = [n for n in wanted if n not in found]
    if absent:
        raise GmotError(
            f"{exp_dir}: --epoch {epoch} --avg {avg} needs epochs {wanted}, {absent} are not "
            f"there (found {found}). Lower --avg, or train with a larger --keep-last."
        )
    config: dict[str, Any] = {}

    def weights(path: Path) -> dict[str, torch.Tensor]:
        state = read_checkpoint(path)
        config.update(config or state["config"])
        one, other = ({k: c.get(k) for k in _IDENTITY} for c in (state["config"], config))
        different = differences(one, other)
        if different:
            raise GmotError(
                f"{path}: another training than epoch {epoch} ({'; '.join(different)}). "
                "Lower --avg."
            )
        if average != "ema":
            return state["model"]
        if not state.get("ema"):
            raise GmotError(f"{path}: no running average in it (training.ema_decay 0).")
        return state["ema"]

    averaged = average_states(weights(epoch_path(exp_dir, n)) for n in reversed(wanted))
    config.update(epoch=epoch, avg=len(wanted), average=average)
    model = _model(config, averaged, device)
    names = ", ".join(map(str, wanted))
    what = "running average of epoch" if average == "ema" else "average of epochs"
    logging.info("%s: %s %s", exp_dir, what, names)
    return model, config


def load_weights(path: PathLike, device: str = "cpu") -> tuple[CtcModel, dict[str, Any]]:
    """Model of one checkpoint, such as ``average.pt``; returns what :func:`load_for_decoding` does.

    Raises:
      GmotError: as :func:`read_checkpoint`.
    """
    state = read_checkpoint(path)
    epoch = state.get("position", {}).get("epoch", 1)
    config = {"epoch": max(epoch, 1), "avg": 1, "average": "last", **state["config"]}
    logging.info("weights of %s", path)
    return _model(config, state["model"], device), config


def _model(config: dict[str, Any], weights: dict[str, torch.Tensor], device: str) -> CtcModel:
    """Model in evaluation mode, of the configuration of its training."""
    model = CtcModel(from_dict(ModelConfig, config["model"], "model."))
    model.load_state_dict(weights)
    return model.to(device).eval()


def _best(exp_dir: PathLike, found: list[int], epoch: int, avg: int) -> list[int]:
    """The ``avg`` epochs up to ``epoch`` of lowest dev loss, ascending."""
    losses = read_checkpoint(epoch_path(exp_dir, found[-1])).get("dev_losses", {})
    ranked = best_epochs({n: losses[str(n)] for n in found if n <= epoch and str(n) in losses}, avg)
    if len(ranked) < avg:
        raise GmotError(
            f"{exp_dir}: {len(ranked)} checkpoints with a dev loss up to epoch {epoch}, --avg asks "
            f"for {avg}. Lower --avg, or train with a larger training.keep_best."
        )
    return sorted(ranked)


def best_epochs(losses: dict[int, float], count: int) -> list[int]:
    """The ``count`` epochs of lowest loss, best first."""
    return sorted(losses, key=lambda n: (losses[n], n))[:count]
