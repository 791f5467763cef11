"""Feature matrices in half precision, many per file, memory-mapped.

A storage backend for lhotse, which needs numpy alone; :func:`register` makes it known there.
lhotse's own backends are lossy (lilcom), need h5py, or write one file per utterance. A corpus
that fits in memory stays in the page cache, shared by all workers.

A file holds matrices ``(T, F)`` of little-endian float16, one after another; the key of a matrix
is ``offset:T:F``, with the offset in values.
"""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader

from gmot.data.audio import NonFiniteError

DTYPE = np.dtype("<f2")
# Storage type, in manifests, of features that are computed whenever they are read.
NOT_STORED = "gmot_not_stored"


def register(*_: Any) -> None:
    """Make ``cut.load_features()`` read archives in this process, before cuts are opened.

    A DataLoader's ``worker_init_fn``: a worker that is not forked has a registry of its own.
    """
    register_reader(HalfArchiveReader)


def parse_key(key: str) -> tuple[int, int, int]:
    """Offset in values, T and F of a matrix."""
    offset, frames, bins = map(int, key.split(":"))
    return offset, frames, bins


def to_half(value: np.ndarray) -> np.ndarray:
    """Matrix in half precision.

    Raises:
      NonFiniteError: a value is NaN, infinite or beyond half precision.
    """
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(value, DTYPE)
    if not np.isfinite(half).all():
        raise NonFiniteError("features that are not finite in half precision")
    return half


class UnstoredWriter(FeaturesWriter):
    """Writer that stores nothing; a context manager.

    Attributes:
      last: the matrix that was written last, in half precision.
    """

    name = NOT_STORED
    storage_path = ""

    def __init__(self) -> None:
        self.last = np.zeros((0, 0), DTYPE)

    def write(self, key: str, value: np.ndarray) -> str:
        """As :meth:`HalfArchiveWriter.write`, without a file."""
        self.last = to_half(value)
        return ""

    def __exit__(self, *_: Any) -> None:
        pass


class HalfArchiveWriter(UnstoredWriter):
    """Writer of a new archive; a context manager."""

    name = "gmot_half_archive"

    def __init__(self, storage_path: os.PathLike):
        super().__init__()
        self._path = Path(storage_path)
        self._file = open(self._path, "wb")  # noqa: SIM115 (closed by __exit__)
        self._offset = 0

    @property
    def storage_path(self) -> str:  # type: ignore[override]
        return str(self._path)

    def write(self, key: str, value: np.ndarray) -> str:
        """Append a matrix ``(T, F)``; returns its key.

        Raises:
          NonFiniteError: a value is NaN, infinite or beyond half precision.
        """
        frames, bins = value.shape
        super().write(key, value)
        place = f"{self._offset}:{frames}:{bins}"
        self._file.write(self.last.tobytes())
        self._offset += value.size
        return place

    def __exit__(self, *_: Any) -> None:
        self._file.close()


class HalfArchiveReader(FeaturesReader):
    """Reader of matrices ``(T, F)``, as float32."""

    name = HalfArchiveWriter.name

    def __init__(self, storage_path: os.PathLike):
        self.storage_path = str(storage_path)

    def read(
        self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None
    ) -> np.ndarray:
        offset, frames, bins = parse_key(key)
        status = os.stat(self.storage_path)  # an archive may be replaced under the same name
        expected = (offset + frames * bins) * DTYPE.itemsize
        if status.st_size < expected:
            raise ValueError(f"{status.st_size} bytes, expected {expected} or more")
        archive = map_file(self.storage_path, status, DTYPE)
        matrix = archive[offset : offset + frames * bins].reshape(frames, bins)
        return matrix[left_offset_frames:right_offset_frames].astype(np.float32)


def map_file(path: str, status: os.stat_result, dtype: Any) -> np.ndarray:
    """Memory-mapped file, mapped once per process and state of the file."""
    return _map(path, status.st_ino, status.st_mtime_ns, np.dtype(dtype))


@functools.lru_cache(maxsize=1024)
def _map(path: str, inode: int, modified: int, dtype: np.dtype) -> np.ndarray:
    return np.memmap(path, dtype, "r")
