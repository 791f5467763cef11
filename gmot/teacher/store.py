"""Teacher features on disk, computed once: reading them needs numpy and torch alone."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import GmotError, PathLike, atomic_path, read_json, write_json
from gmot.teacher.encoder import Teacher


class FeatureStore:
    """Teacher features of many sentences, memory-mapped; made by :func:`write_store`.

    Attributes:
      dim: width of the features.
      fingerprint: of all that they depend on (:attr:`Teacher.fingerprint`).
      layer, num_layers: the hidden states that were kept, and how many layers the
        teacher has; ``num_layers`` is None in stores of earlier versions.
      random_weights: whether the teacher was the untrained control.
      tokenizer: fingerprint of the teacher's tokenizer; None in stores of earlier versions.
    """

    def __init__(self, path: Path, index: Dict[str, Any]):
        self._rows: Dict[str, List[int]] = index["texts"]
        self.path = path
        self.dim: int = index["dim"]
        self.fingerprint: str = index["fingerprint"]
        self.layer: int = index["layer"]
        self.random_weights: bool = index["random_weights"]
        # Stores of earlier versions lack these two.
        self.num_layers: Optional[int] = index.get("num_layers")
        self.tokenizer: Optional[str] = index.get("tokenizer")
        self._features = np.memmap(
            path / "features.bin", np.float16, "r", shape=(index["rows"], self.dim)
        )

    @classmethod
    def open(cls, directory: PathLike, fingerprint: Optional[str] = None) -> "FeatureStore":
        """Open a store.

        Args:
          directory: where :func:`write_store` put it.
          fingerprint: of the teacher that is expected, or None for any.

        Raises:
          GmotError: there is none, it is incomplete, or another teacher's.
        """
        path = Path(directory)
        index = read_json(path / "index.json")
        features = path / "features.bin"
        try:
            expected = index["rows"] * index["dim"] * 2
        except (LookupError, TypeError):
            raise GmotError(
                f"{path / 'index.json'}: not the index of a teacher's features. "
                "Delete the folder and compute the teacher's features again."
            ) from None
        found = features.stat().st_size if features.is_file() else 0
        if found != expected:
            raise GmotError(
                f"{features}: {found} bytes, expected {expected}. "
                "Delete the folder and compute the teacher's features again."
            )
        if fingerprint is not None and fingerprint != index["fingerprint"]:
            raise GmotError(
                f"{path} holds features of the teacher {index['fingerprint']} "
                f"(layer {index['layer']}, random weights: {index['random_weights']}), "
                f"expected {fingerprint}. Compute the teacher's features again, or give "
                "another folder."
            )
        return cls(path, index)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, text: str) -> bool:
        return text in self._rows

    def get(self, text: str) -> Tensor:
        """Features ``(L, D)`` float32 of a sentence that is in the store.

        Raises:
          GmotError: it is not.
        """
        if text not in self._rows:
            raise GmotError(
                f"{self.path}: no features of '{text}'. Compute the teacher's features "
                "again, from the manifests that are trained on."
            )
        start, length = self._rows[text]
        return torch.from_numpy(self._features[start : start + length].astype(np.float32))


def write_store(
    directory: PathLike, teacher: Teacher, texts: Iterable[str], batch_size: int = 32
) -> int:
    """Compute the features of ``texts`` and keep them, each text once.

    Args:
      directory: the folder to make; one that is there is replaced at the end.
      teacher: computes the features.
      texts: sentences, repetitions allowed.
      batch_size: sentences at a time; similar lengths go together.

    Returns:
      How many different sentences the store holds.

    Raises:
      GmotError: there is no sentence, or features are beyond half precision.
    """
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    if not distinct:
        raise GmotError(f"{directory}: there is no sentence to compute teacher features of")
    if batch_size < 1:
        raise GmotError(f"batch size {batch_size}: expected 1 sentence or more")
    rows = 0
    index: Dict[str, List[int]] = {}
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
    """Features (L, D) in half precision.

    Raises:
      GmotError: naming the text and the value, where one has no finite half-precision value.
    """
    values = features.numpy()
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        value = values[~np.isfinite(half)][0]
        raise GmotError(
            f"teacher features of '{text}': value {value:g} in layer {teacher.layer} of "
            f"{teacher.num_layers}; features are stored in half precision, up to "
            f"{np.finfo(np.float16).max:g}. Take another layer (--teacher-layer of the recipe, "
            "--layer of compute_teacher.py) or another teacher."
        )
    return half
