"""Initial weights from another training: CTC pretraining, another corpus, another teacher."""

import logging

import torch

from gmot.common import GmotError, PathLike, fingerprint
from gmot.model.checkpoint import read_checkpoint
from gmot.model.ctc_model import CtcModel
from gmot.text.tokens import TokenTable


def start_from(
    model: CtcModel, path: PathLike, tokens: TokenTable, checkpoint_tokens: TokenTable | None = None
) -> str:
    """Initialize a model with the weights of another training (CTC pretraining, another corpus).

    Feature statistics stay the model's own. An adapter that the checkpoint lacks, or has for a
    teacher of another width, keeps its initial values; one that the model lacks is left out.

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
    own = model.state_dict()
    adapter = [k for k in weights if k.startswith("adapter.")]
    if any(k not in own or own[k].shape != weights[k].shape for k in adapter):
        there, here = (c["teacher_dim"] for c in (state["config"]["model"], vars(model.config)))
        what = f"one of {here} begins anew" if here else "the model has none"
        logging.warning(
            "%s: its adapter to a teacher of %d values is left out, %s", path, there, what
        )
        weights = {k: v for k, v in weights.items() if k not in adapter}
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
            rows = own[name].clone()
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
