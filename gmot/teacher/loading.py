"""Lazy import of transformers (it takes seconds), and loading of models."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike


def load_model(kind: str, folder_or_name: PathLike) -> tuple[Any, list[str]]:
    """A pretrained model in float32, and the names of its missing weights.

    transformers draws missing weights at random and continues; the pooler's are ignored, because
    it follows all layers.

    Raises:
      GmotError: it cannot be loaded.
    """
    path = Path(folder_or_name)
    weights = [*path.glob("model.safetensors*"), *path.glob("pytorch_model.bin*")]
    if path.is_dir() and not weights:
        raise GmotError(
            f"teacher {path}: no weights, expected model.safetensors or pytorch_model.bin. "
            "Download the complete model, or run the stage that makes it."
        )
    model, info = load_pretrained(kind, folder_or_name, "model", output_loading_info=True)
    return model.float(), sorted(key for key in info["missing_keys"] if "pooler." not in key)


def refuse_missing(folder_or_name: PathLike, missing: Sequence[str]) -> None:
    """Raises GmotError if there are missing weights."""
    if missing:
        raise GmotError(
            f"teacher {folder_or_name}: {len(missing)} weights are missing, the first is "
            f"'{missing[0]}'. The weights do not belong to this config.json."
        )


def load_pretrained(kind: str, folder_or_name: PathLike, what: str, **options: Any) -> Any:
    """``transformers.<kind>.from_pretrained``, with one-line errors.

    Raises:
      GmotError: ``what`` (config, tokenizer, model) cannot be loaded.
    """
    path = Path(folder_or_name)
    if path.is_dir():
        options["local_files_only"] = True
        if not (path / "config.json").is_file():
            raise GmotError(
                f"teacher {path}: no config.json. Expected a Hugging Face model folder "
                "(config.json, model.safetensors, tokenizer files)."
            )
    elif path.is_absolute() or str(folder_or_name).count("/") > 1 or path.exists():
        raise GmotError(f"teacher {path}: no such folder. Run the stage that makes it.")
    transformers = import_transformers()
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # users cannot act on its warnings
    try:
        return getattr(transformers, kind).from_pretrained(str(folder_or_name), **options)
    except Exception as error:  # the type depends on the format of the broken file
        first = str(error).strip().splitlines()
        raise GmotError(
            f"teacher {folder_or_name}: its {what} cannot be loaded "
            f"({first[0] if first else type(error).__name__})"
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)


def load_config(folder_or_name: PathLike) -> Any:
    """Config of a teacher, with ``hidden_size`` and ``num_hidden_layers``.

    Raises:
      GmotError: it cannot be loaded.
    """
    return load_pretrained("AutoConfig", folder_or_name, "config")


def import_transformers() -> Any:
    """The module ``transformers``."""
    # Texts are tokenized one by one; unset, each process that is forked later (a data loader)
    # prints a warning. It is read at a process's first use of a tokenizer.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers

    return transformers
