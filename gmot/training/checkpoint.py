"""Checkpoints: complete or absent, refused where they do not fit, averaged for decoding.

``epoch-N.pt`` holds the state after epoch N (epochs count from 1): model,
``transfer`` (what trains beside the model and is dropped at inference),
optimizer, random generators, the configuration, and what led there. Tensors,
numbers and strings only, so that any torch loads it. Decoding, averaging and
``--init-from`` read the model alone.
"""

import logging
import random
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

import torch
from torch import nn

from gmot.common import GmotError, PathLike, atomic_path, fingerprint
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.text.tokens import TokenTable
from gmot.transfer.systems import TransferSettings

BEST = "best-valid-loss.pt"


def epoch_path(exp_dir: PathLike, epoch: int) -> Path:
    return Path(exp_dir) / f"epoch-{epoch}.pt"


def epochs_in(exp_dir: PathLike) -> List[int]:
    """Epochs that have a checkpoint, ascending."""
    found = (re.fullmatch(r"epoch-(\d+)\.pt", p.name) for p in Path(exp_dir).glob("epoch-*.pt"))
    return sorted(int(match.group(1)) for match in found if match)


def save_checkpoint(path: PathLike, state: Dict[str, Any]) -> None:
    """``torch.save`` to a temporary name, then rename."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def read_checkpoint(path: PathLike) -> Dict[str, Any]:
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


def random_state() -> Dict[str, Any]:
    """State of every generator that training draws from."""
    version, numbers, gauss = random.getstate()
    state: Dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


# Keys that checkpoints of earlier versions lack; other keys identify the same things there.
_RECENT = ("teacher_layer", "tokenizer")
_DEFAULTS = {"model": ModelConfig, "system": TransferSettings}


def _with_defaults(config: Dict[str, Any]) -> Dict[str, Any]:
    """The configuration with the fields that its version did not have."""
    filled = dict(config)
    for key, kind in _DEFAULTS.items():
        if isinstance(config.get(key), dict):
            defaults = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
            filled[key] = {**defaults, **config[key]}
    return filled


def check_same_config(path: PathLike, found: Dict[str, Any], expected: Dict[str, Any]) -> None:
    """Raises GmotError naming each key of two configurations that differ."""
    found, expected = _with_defaults(found), _with_defaults(expected)
    absent = [key for key in _RECENT if key not in found or key not in expected]
    differing = [
        f"{key}: {found.get(key)!r} there, {expected.get(key)!r} asked for"
        for key in sorted({*found, *expected}.difference(absent))
        if found.get(key) != expected.get(key)
    ]
    if differing:
        raise GmotError(
            f"{path}: made with another configuration ({'; '.join(differing)}). "
            "Give what it was made with, use another --exp-dir, or remove that folder."
        )


def _load(
    model: nn.Module, path: PathLike, weights: Dict[str, torch.Tensor], allow_new: Tuple[str, ...]
) -> None:
    """Load weights; entries that begin with one of ``allow_new`` may be lacking.

    Raises:
      GmotError: shapes or names differ otherwise.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in weights and not k.startswith(allow_new)]
    extra = [k for k in weights if k not in own]
    shapes = [k for k in own if k in weights and own[k].shape != weights[k].shape]
    if missing or extra or shapes:
        raise GmotError(
            f"{path}: does not fit the model: missing {missing[:3]}, unknown {extra[:3]}, "
            f"of another shape {shapes[:3]}. Give the model options it was trained with."
        )
    model.load_state_dict({**own, **weights})


def start_from(
    model: CtcModel, path: PathLike, tokens: TokenTable, its_tokens: Optional[TokenTable] = None
) -> str:
    """Let a training begin with the weights of another: acoustic pretraining, or another corpus.

    The statistics of the features stay the model's own, and an adapter that
    the checkpoint lacks keeps its initial values.

    Args:
      model: of the new training.
      path: the checkpoint.
      tokens: outputs of the model.
      its_tokens: those of the checkpoint, where they are others: the rows of the
        head that belong to tokens of both are taken over, the rest is new.
    Returns:
      What the weights are known by, wherever they lie.
    Raises:
      GmotError: the checkpoint does not fit the model, or the tokens do not fit it.
    """
    state = read_checkpoint(path)
    weights = {k: v for k, v in state["model"].items() if not k.startswith("feature_")}
    known_by = fingerprint(*weights.values())
    made_with = state["config"].get("tokens")
    if its_tokens is not None:
        if made_with != its_tokens.fingerprint:
            raise GmotError(
                f"{path}: was trained with tokens {made_with}, --init-lang-dir has "
                f"{its_tokens.fingerprint}. Give the lang folder of that training."
            )
        shared = [token for token in tokens.symbols if token in its_tokens]
        to, from_ = [tokens.ids[t] for t in shared], [its_tokens.ids[t] for t in shared]
        for name in ("head.weight", "head.bias"):
            rows = model.state_dict()[name].clone()
            rows[to] = weights[name].to(rows)[from_]
            weights[name] = rows
        logging.info("%s: %d of %d tokens are known to it", path, len(shared), len(tokens))
    elif made_with is not None and made_with != tokens.fingerprint:
        raise GmotError(
            f"{path}: was trained with other tokens ({made_with}, --lang-dir has "
            f"{tokens.fingerprint}). Give its own lang folder as --init-lang-dir."
        )
    _load(model, path, weights, allow_new=("adapter.", "feature_"))
    return known_by


def average_states(states: Iterable[Dict[str, torch.Tensor]]) -> Dict[str, torch.Tensor]:
    """Mean of the floating-point entries (in float64); others are taken from the first.

    Of an iterator that makes states, one is in memory at a time.
    """
    averaged: Dict[str, torch.Tensor] = {}
    dtypes: Dict[str, torch.dtype] = {}
    count = 0
    for state in states:
        for key, value in state.items():
            if count == 0:
                dtypes[key] = value.dtype
                to = torch.float64 if value.is_floating_point() else value.dtype
                averaged[key] = value.to(to, copy=True)
            elif value.is_floating_point():
                averaged[key] += value
        count += 1
        del state, value  # before the next one is read
    for key, dtype in dtypes.items():
        if dtype.is_floating_point:
            averaged[key] = (averaged[key] / count).to(dtype)
    return averaged


def load_for_decoding(
    exp_dir: PathLike, epoch: Optional[int] = None, avg: int = 1, device: str = "cpu"
) -> Tuple[CtcModel, Dict[str, Any]]:
    """The model to decode with: the mean of epochs ``epoch - avg + 1 ... epoch``.

    Args:
      exp_dir: folder of one system.
      epoch: the last epoch to use; None is the last there is.
      avg: how many epochs to average. They are read one after the other, on the CPU.
      device: of the model.
    Returns:
      The model in evaluation mode, and the configuration it was trained with
      (with ``epoch`` and ``avg`` filled in).
    Raises:
      GmotError: a checkpoint is missing or of another configuration.
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
    config: Dict[str, Any] = {}

    def weights(path: Path) -> Dict[str, torch.Tensor]:
        state = read_checkpoint(path)
        config.update(config or state["config"])
        check_same_config(path, state["config"], config)
        return state["model"]

    averaged = average_states(weights(epoch_path(exp_dir, n)) for n in reversed(wanted))
    config.update(epoch=epoch, avg=avg)
    model = CtcModel(ModelConfig.from_dict(config["model"]))
    model.load_state_dict(averaged)
    logging.info("%s: epochs %d to %d averaged", exp_dir, wanted[0], wanted[-1])
    return model.to(device).eval(), config
