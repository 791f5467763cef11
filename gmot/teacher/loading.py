"""The door to transformers, which is imported late: it takes seconds."""

from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike

WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)


def has_weights(folder_or_name: PathLike) -> None:
    """Raises GmotError if it is a folder without weights."""
    path = Path(folder_or_name)
    if path.is_dir() and not any((path / name).is_file() for name in WEIGHT_FILES):
        raise GmotError(
            f"teacher {path}: no weights in it. Expected model.safetensors or "
            "pytorch_model.bin: download the model completely, or make it with its recipe."
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
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers
