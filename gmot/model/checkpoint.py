"""Checkpoints: atomic writes, initial weights, averages.

``epoch-N.pt`` holds the state after epoch N (from 1): model, ``transfer`` (modules of the
objective, dropped at inference), optimizer, random generators and the nested configuration:
tensors, numbers and strings only, so that any torch loads it.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from gmot.common import GmotError, PathLike, atomic_path, fingerprint
from gmot.config import differences, from_dict
from gmot.model.config import ModelConfig
from gmot.model.ctc_model import CtcModel
from gmot.text.tokens import TokenTable

BEST = "best-valid-loss.pt"
# Parts of the configuration that make weights comparable.
_IDENTITY = ("model", "transfer", "tokens", "teacher")


def epoch_path(exp_dir: PathLike, epoch: int) -> Path:
    return Path(exp_dir) / f"epoch-{epoch}.pt"


def epochs_in(exp_dir: PathLike) -> list[int]:
    """Epochs that have a checkpoint, ascending."""
    found = (re.fullmatch(r"epoch-(\d+)\.pt", p.name) for p in Path(exp_dir).glob("epoch-*.pt"))
    return sorted(int(match.group(1)) for match in found if match)


def save_checkpoint(path: PathLike, state: dict[str, Any]) -> None:
    """``torch.save`` to a temporary name, then rename."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: PathLike) -> dict[str, Any]:
    """Load one checkpoint to the CPU.

    Raises:
      GmotError: missing, broken, or not a checkpoint of gmot.
    """
    if not Path(path).is_file():
        raise GmotError(f"{path}: no such checkpoint. Train first, or name another epoch.")
    try:
        # torch 1.13 cannot read numbers with weights_only, torch 2.6 does so by default.
        state = torch.load(path, map_location="cpu")
    except Exception as error:  # torch raises many kinds
        raise GmotError(f"{path}: not a readable checkpoint ({error}). Delete it.") from None
    if not isinstance(state, dict) or "model" not in state or "config" not in state:
        raise GmotError(f"{path}: not a checkpoint of gmot (no 'model' and 'config' in it).")
    return state


def _load(model: CtcModel, path: PathLike, weights: dict[str, torch.Tensor]) -> None:
    """Load weights; those of the adapter and the feature statistics may be missing."""
    own = model.state_dict()
    kept = ("adapter.", "feature_")
    missing = [k for k in own if k not in weights and not k.startswith(kept)]
    extra = [k for k in weights if k not in own]
    shapes = [k for k in own if k in weights and own[k].shape != weights[k].shape]
    if missing or extra or shapes:
        raise GmotError(
            f"{path}: does not fit the model: missing {missing[:3]}, unknown {extra[:3]}, "
            f"of another shape {shapes[:3]}. Give the --model options it was trained with."
        )
    model.load_state_dict({**own, **weights})


def start_from(
    model: CtcModel, path: PathLike, tokens: TokenTable, checkpoint_tokens: TokenTable | None = None
) -> str:
    """Initialize a model with the weights of another training (CTC pretraining, another corpus).

    Feature statistics stay the model's own; an adapter that the checkpoint lacks keeps its
    initial values.

    Args:
      tokens: outputs of the model.
      checkpoint_tokens: those of the checkpoint, if different: the rows of the CTC head of common
        tokens are copied, the others stay as initialized.
    Returns:
      Fingerprint of the weights.
    Raises:
      GmotError: the checkpoint does not fit the model or the tokens.
    """
    state = read_checkpoint(path)
    weights = {k: v for k, v in state["model"].items() if not k.startswith("feature_")}
    known_by = fingerprint(*weights.values())
    made_with = state["config"].get("tokens")
    if checkpoint_tokens is not None:
        if made_with != checkpoint_tokens.fingerprint:
            raise GmotError(
                f"{path}: was trained with tokens {made_with}, --init-lang-dir has "
                f"{checkpoint_tokens.fingerprint}. Give the lang folder of that training."
            )
        shared = [token for token in tokens.symbols if token in checkpoint_tokens]
        to, from_ = [tokens.ids[t] for t in shared], [checkpoint_tokens.ids[t] for t in shared]
        for name in ("head.weight", "head.bias"):
            rows = model.state_dict()[name].clone()
            rows[to] = weights[name].to(rows)[from_]
            weights[name] = rows
        logging.info("%s: has %d of the %d tokens", path, len(shared), len(tokens))
    elif made_with is not None and made_with != tokens.fingerprint:
        raise GmotError(
            f"{path}: was trained with other tokens ({made_with}, --lang-dir has "
            f"{tokens.fingerprint}). Give its own lang folder as --init-lang-dir."
        )
    _load(model, path, weights)
    return known_by


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
    exp_dir: PathLike, epoch: int | None = None, avg: int = 1, device: str = "cpu"
) -> tuple[CtcModel, dict[str, Any]]:
    """Model for decoding: mean of epochs ``epoch - avg + 1 ... epoch``.

    Args:
      epoch: last epoch to use; None: the last checkpoint.
      avg: number of epochs; read one after the other, on the CPU.
    Returns:
      The model in evaluation mode, and the configuration of its training, ``epoch`` and ``avg``.
    Raises:
      GmotError: a checkpoint is missing or belongs to another training.
    """
    found = epochs_in(exp_dir)
    if not found:
        raise GmotError(f"{exp_dir}: no epoch-N.pt in it. Train first (stage 8).")
    epoch = found[-1] if epoch is None else epoch
    wanted = list(range(epoch - avg + 1, epoch + 1))
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
        found = differences(one, other)
        if found:
            raise GmotError(
                f"{path}: another training than epoch {epoch} ({'; '.join(found)}). Lower --avg."
            )
        return state["model"]

    averaged = average_states(weights(epoch_path(exp_dir, n)) for n in reversed(wanted))
    config.update(epoch=epoch, avg=avg)
    model = CtcModel(from_dict(ModelConfig, config["model"], "model."))
    model.load_state_dict(averaged)
    logging.info("%s: epochs %d to %d averaged", exp_dir, wanted[0], wanted[-1])
    return model.to(device).eval(), config
