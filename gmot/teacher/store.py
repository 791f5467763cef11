"""Teacher features on disk, computed once; reading them needs numpy and torch alone."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import GmotError, PathLike, atomic_path, read_json, write_json
from gmot.teacher.encoder import Teacher

REMEDY = "Delete the folder and compute the teacher's features again."


class FeatureStore:
    """Teacher features of sentences, memory-mapped: a folder written by :func:`write_store`.

    Raises:
      GmotError: the folder is missing or incomplete.
    """

    def __init__(self, directory: PathLike):
        self.path = Path(directory)
        index = read_json(self.path / "index.json")
        try:
            self._rows: dict[str, list[int]] = index["texts"]
            self.dim: int = index["dim"]
            self.fingerprint: str = index["fingerprint"]  # Teacher.fingerprint
            self.layer: int = index["layer"]
            self.random_weights: bool = index["random_weights"]
            # Layers of the teacher and fingerprint of its tokenizer; None in the first edition.
            self.num_layers: int | None = index.get("num_layers")
            self.tokenizer: str | None = index.get("tokenizer")
            expected = index["rows"] * self.dim * 2
        except (LookupError, TypeError):
            raise GmotError(
                f"{self.path / 'index.json'}: not an index of teacher features. {REMEDY}"
            ) from None
        features = self.path / "features.bin"
        found = features.stat().st_size if features.is_file() else 0
        if found != expected:
            raise GmotError(f"{features}: {found} bytes, expected {expected}. {REMEDY}")
        self._features = np.memmap(features, np.float16, "r", shape=(index["rows"], self.dim))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, text: str) -> bool:
        return text in self._rows

    def get(self, text: str) -> Tensor:
        """Features ``(L, D)`` float32 of a sentence.

        Raises:
          GmotError: it is not in the store.
        """
        if text not in self._rows:
            raise GmotError(
                f"{self.path}: no features of '{text}'. Compute the teacher's features "
                "again, from the manifests of the training data."
            )
        start, length = self._rows[text]
        return torch.from_numpy(self._features[start : start + length].astype(np.float32))


def write_store(
    directory: PathLike, teacher: Teacher, texts: Iterable[str], batch_size: int = 32
) -> int:
    """Compute and store the features of texts, each distinct one once; returns their number.

    Args:
      directory: folder to write; an existing one is replaced at the end.
      teacher: computes the features.
      texts: sentences.
      batch_size: sentences of similar length per batch.

    Raises:
      GmotError: there are no sentences, or a feature exceeds half precision.
    """
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    if not distinct:
        raise GmotError(f"{directory}: no sentences to compute teacher features of")
    rows, index = 0, {}
    with atomic_path(directory) as folder:
        folder.mkdir()
        bar = tqdm(total=len(distinct), desc="teacher features", unit="sentence", disable=None)
        with bar, open(folder / "features.bin", "wb") as file:
            for start in range(0, len(distinct), batch_size):
                batch = distinct[start : start + batch_size]
                for text, features in zip(batch, teacher.encode(batch)):
                    file.write(_half(features, text, teacher).tobytes())
                    index[text] = [rows, len(features)]
                    rows += len(features)
                bar.update(len(batch))
        write_json(
            folder / "index.json",
            {
                "fingerprint": teacher.fingerprint,
                "tokenizer": teacher.tokenizer.fingerprint,
                "layer": teacher.layer,
                "num_layers": teacher.num_layers,
                "random_weights": teacher.random_weights,
                "dim": teacher.dim,
                "rows": rows,
                "texts": index,
            },
        )
    return len(distinct)


def _half(features: Tensor, text: str, teacher: Teacher) -> np.ndarray:
    """Features ``(L, D)`` in half precision; GmotError if a value exceeds it."""
    values = features.numpy()
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        value = values[~np.isfinite(half)][0]
        raise GmotError(
            f"teacher features of '{text}': value {value:g} in layer {teacher.layer} of "
            f"{teacher.num_layers}, but half precision, in which they are stored, ends at "
            f"{np.finfo(np.float16).max:g}. Use another layer (--teacher-layer of the recipe, "
            "--layer of compute_teacher.py) or another teacher."
        )
    return half
