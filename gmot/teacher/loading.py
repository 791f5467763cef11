"""The door to transformers, which is imported late: it takes seconds."""

import os
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import torch

from gmot.common import GmotError, PathLike

WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)


def load_model(kind: str, folder_or_name: PathLike) -> Tuple[Any, List[str]]:
    """A pretrained model in float32.

    Args:
      kind: its class, such as ``AutoModel``.
      folder_or_name: a Hugging Face folder, or the name of a model.

    Returns:
      The model, and the names of the weights that are not in the folder:
      transformers draws those at random and goes on.

    Raises:
      GmotError: it cannot be loaded.
    """
    path = Path(folder_or_name)
    if path.is_dir() and not any((path / name).is_file() for name in WEIGHT_FILES):
        raise GmotError(
            f"teacher {path}: no weights in it. Expected model.safetensors or "
            "pytorch_model.bin: download the model completely, or make it with its recipe."
        )
    model, info = load_part(
        kind, folder_or_name, "model", output_loading_info=True, torch_dtype=torch.float32
    )
    # The pooler comes after all layers and is of no use here.
    return model, sorted(key for key in info["missing_keys"] if "pooler." not in key)


def refuse_missing(folder_or_name: PathLike, missing: Sequence[str]) -> None:
    """Raises GmotError if weights are missing."""
    if missing:
        raise GmotError(
            f"teacher {folder_or_name}: {len(missing)} weights are missing, the first is "
            f"'{missing[0]}'. The weights do not belong to this config.json."
        )


def load_part(kind: str, folder_or_name: PathLike, what: str, **options: Any) -> Any:
    """``transformers.<kind>.from_pretrained``, with errors for people."""
    path = Path(folder_or_name)
    if path.is_dir():
        options["local_files_only"] = True
        if not (path / "config.json").is_file():
            raise GmotError(
                f"teacher {path}: no config.json in it. Give a Hugging Face model folder "
                "(config.json, model.safetensors, tokenizer files)."
            )
    elif path.is_absolute() or str(folder_or_name).count("/") > 1 or path.exists():
        raise GmotError(f"teacher {path}: no such folder. Run the stage that makes it.")
    transformers = import_transformers()
    try:
        return getattr(transformers, kind).from_pretrained(str(folder_or_name), **options)
    except Exception as error:  # what a broken file raises depends on its format
        first = str(error).strip().splitlines()
        raise GmotError(
            f"teacher {folder_or_name}: its {what} cannot be loaded "
            f"({first[0] if first else type(error).__name__})"
        ) from error


def import_transformers() -> Any:
    """transformers, silent about what its users cannot change."""
    # Texts are tokenized one by one, so there is nothing to parallelise; unset, each process that
    # is forked later (such as a loader of features) prints a warning.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers
