"""Teacher features on disk, computed once; reading them needs numpy and torch alone."""

import functools
import json
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import (
    GmotError,
    PathLike,
    atomic_path,
    fingerprint,
    read_json,
    write_json,
)
from gmot.executors import Shard, keep_shards_of, run_shards
from gmot.provenance import choose_device
from gmot.teacher.encoder import Teacher
from gmot.text.units import Span, Units

FORMAT = 2  # of shards; increment it when the same input gives other files
SHARD_SIZE, MAX_SHARDS = 1024, 1000  # sentences; shards
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
            spans = np.array([*index["texts"].values()], np.int64).reshape(-1, 2)
            self._numbers = {text: number for number, text in enumerate(index["texts"])}
            self._starts, self._lengths = spans.T
            self.dim: int = index["dim"]
            self.fingerprint: str = index["fingerprint"]  # Teacher.fingerprint
            self.layer: int = index["layer"]
            self.random_weights: bool = index["random_weights"]
            self.num_layers: int = index["num_layers"]
            self.units: str = index["units"]  # Units.fingerprint
            expected = index["rows"] * self.dim * 2
        except (AttributeError, LookupError, TypeError, ValueError):
            raise GmotError(
                f"{self.path / 'index.json'}: not an index of teacher features. {REMEDY}"
            ) from None
        features = self.path / "features.bin"
        found = features.stat().st_size if features.is_file() else 0
        if found != expected:
            raise GmotError(f"{features}: {found} bytes, expected {expected}. {REMEDY}")
        self._features = np.memmap(features, np.float16, "r", shape=(index["rows"], self.dim))

    def __len__(self) -> int:
        return len(self._numbers)

    def __reduce__(self) -> tuple:  # a copy in another process maps the file
        return FeatureStore, (self.path,)

    def __contains__(self, text: str) -> bool:
        return text in self._numbers

    def rows(self, text: str) -> Tensor:
        """Features ``(L, D)`` float16 of a sentence.

        Raises:
          GmotError: it is not in the store.
        """
        number = self._numbers.get(text)
        if number is None:
            raise GmotError(
                f"{self.path}: no features of '{text}'. Compute the teacher's features "
                "again, from the manifests of the training data."
            )
        start, length = int(self._starts[number]), int(self._lengths[number])
        return torch.from_numpy(np.array(self._features[start : start + length]))

    def get(self, text: str) -> Tensor:
        """Features ``(L, D)`` float32 of a sentence; errors of :meth:`rows`."""
        return self.rows(text).float()


def write_store(
    directory: PathLike,
    teacher: Teacher,
    units: Units,
    texts: Iterable[str],
    batch_size: int = 32,
    num_jobs: int = 1,
    executor: str | None = None,
    device: str | None = None,
) -> int:
    """Compute and store the features of texts, each distinct one once; returns their number.

    Shards of sentences are collected in the hidden folder ``.shards-<name>`` beside the store, so
    that an interrupted run is resumed. The product does not depend on interruptions or on the
    number of processes.

    Args:
      directory: folder to write; an existing one is replaced at the end.
      teacher: computes the features.
      units: tokens that the rows belong to.
      texts: sentences.
      batch_size: sentences of similar length per batch.
      num_jobs: processes of one thread each, each with a copy of the model.
      executor: address of a Dask scheduler, instead of local processes.
      device: of the other processes, as ``--device`` names it; default: the teacher's.

    Raises:
      GmotError: there are no sentences, a feature exceeds half precision, or a process was lost.
    """
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    if not distinct:
        raise GmotError(f"{directory}: no sentences to compute teacher features of")
    target = Path(os.path.realpath(directory))  # a link often leads to a larger disk
    folder = target.parent / f".shards-{target.name}"
    source = {
        "made_from": fingerprint(
            FORMAT, teacher.fingerprint, units.fingerprint, batch_size, *distinct
        )
    }
    keep_shards_of(folder, source)
    shards = _make_shards(folder, distinct, batch_size)
    missing = [(path, part) for path, part in shards if _lengths(path, part, teacher.dim) is None]
    alone = executor is None and (num_jobs <= 1 or len(missing) <= 1)
    used = teacher if alone else _Source.of(teacher, device)
    inputs = [teacher.source] if os.path.isabs(teacher.source) else []  # else a name on the hub
    tasks = [
        Shard(path, (used, part, [*map(units.spans, part)], batch_size, path), inputs)
        for path, part in missing
    ]
    bar = tqdm(total=len(distinct), desc="teacher features", unit="sentence", disable=None)
    with bar:
        bar.update(len(distinct) - sum(len(part) for _, part in missing))
        for done in run_shards(_compute_shard, tasks, folder, "the teacher", num_jobs, executor):
            bar.update(done)
    _merge(target, teacher, units, shards)
    shutil.rmtree(folder)
    return len(distinct)


class _Source(NamedTuple):
    """Origin of a teacher for other processes, and its expected fingerprint."""

    folder_or_name: str
    layer: int
    random_weights: bool
    device: str
    fingerprint: str

    @classmethod
    def of(cls, teacher: Teacher, device: str | None) -> "_Source":
        source = (teacher.source, teacher.layer, teacher.random_weights)
        return cls(*source, device or str(teacher.device), teacher.fingerprint)


def _make_shards(
    folder: Path, distinct: Sequence[str], batch_size: int
) -> list[tuple[Path, Sequence[str]]]:
    """(summary, sentences) of each shard: whole batches, whatever the number of shards."""
    size = max(SHARD_SIZE, -(-len(distinct) // MAX_SHARDS))
    size = -(-size // batch_size) * batch_size
    parts = [distinct[start : start + size] for start in range(0, len(distinct), size)]
    return [(folder / f"shard-{i:04d}.json", part) for i, part in enumerate(parts)]


def _lengths(summary: Path, part: Sequence[str], dim: int) -> list[int] | None:
    """Rows of each sentence of a shard; None if the shard is missing or incomplete."""
    try:
        lengths = json.loads(summary.read_text(encoding="utf-8"))["lengths"]
        size = summary.with_suffix(".bin").stat().st_size
        return lengths if len(lengths) == len(part) and size == sum(lengths) * dim * 2 else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _compute_shard(
    teacher: Teacher | _Source,
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    batch_size: int,
    summary: Path,
) -> int:
    """Write the rows of sentences, then their numbers; returns the number of sentences."""
    if isinstance(teacher, _Source):
        teacher = _load(teacher, threading.get_ident())
    lengths: list[int] = []
    with atomic_path(summary.with_suffix(".bin")) as temporary, open(temporary, "wb") as file:
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            found = teacher.encode_spans(batch, spans[start : start + batch_size])
            for text, features in zip(batch, found):
                file.write(_half(features, text, teacher).tobytes())
                lengths.append(len(features))
    write_json(summary, {"lengths": lengths})
    return len(texts)


@functools.lru_cache(maxsize=8)
def _load(source: _Source, thread: int) -> Teacher:
    """Teacher of this process and thread: tokenizers of transformers serve one thread."""
    device = choose_device(source.device)
    teacher = Teacher(source.folder_or_name, source.layer, source.random_weights, device)
    if teacher.fingerprint != source.fingerprint:
        raise GmotError(
            f"teacher {source.folder_or_name}: other weights or another vocabulary here "
            f"(fingerprint {teacher.fingerprint}) than in the process that asks for its features "
            f"({source.fingerprint}). Give --teacher a folder that all share."
        )
    return teacher


def _merge(
    target: Path, teacher: Teacher, units: Units, shards: Sequence[tuple[Path, Sequence[str]]]
) -> None:
    rows, index = 0, {}
    with atomic_path(target) as folder:
        folder.mkdir()
        with open(folder / "features.bin", "wb") as merged:
            for summary, part in shards:
                lengths = _lengths(summary, part, teacher.dim)
                if lengths is None:
                    raise GmotError(f"{summary}: shard missing or incomplete. Run it again.")
                for text, length in zip(part, lengths):
                    index[text] = [rows, length]
                    rows += length
                with open(summary.with_suffix(".bin"), "rb") as shard:
                    shutil.copyfileobj(shard, merged)
        write_json(
            folder / "index.json",
            {
                "fingerprint": teacher.fingerprint,
                "units": units.fingerprint,
                "layer": teacher.layer,
                "num_layers": teacher.num_layers,
                "random_weights": teacher.random_weights,
                "dim": teacher.dim,
                "rows": rows,
                "texts": index,
            },
        )


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
