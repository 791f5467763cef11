"""Feature matrices in half precision, many in one file, memory-mapped.

A backend for lhotse's feature storage: cuts that were stored with it load by
``cut.load_features()`` wherever this module has been imported. It needs numpy
alone. Reading is a copy out of the page cache, so a corpus that fits in memory
is kept there by the operating system, shared by all workers.

A file is nothing but matrices ``(T, F)`` of little-endian float16, one after
the other; the key of a matrix is ``offset:T:F``, the offset in values.
"""

import functools
import os
from pathlib import Path
from typing import Optional, Tuple

import numpy as np
from lhotse.features.io import FeaturesReader, FeaturesWriter, register_reader, register_writer

from gmot.data.audio import NonFiniteError

DTYPE = np.dtype("<f2")


def parse_key(key: str) -> Tuple[int, int, int]:
    """``offset, T, F`` of a matrix."""
    offset, frames, bins = map(int, key.split(":"))
    return offset, frames, bins


@register_writer
class HalfArchiveWriter(FeaturesWriter):
    """Write a new archive; use it as a context manager."""

    name = "gmot_half_archive"

    def __init__(self, storage_path: os.PathLike):
        self._path = Path(storage_path)
        self._file = open(self._path, "wb")  # noqa: SIM115 (closed by close())
        self._offset = 0

    @property
    def storage_path(self) -> str:
        return str(self._path)

    def write(self, key: str, value: np.ndarray) -> str:
        frames, bins = value.shape
        with np.errstate(over="ignore"):  # it is told below
            half = np.ascontiguousarray(value, DTYPE)
        if not np.isfinite(half).all():
            raise NonFiniteError("features that are not finite in half precision")
        place = f"{self._offset}:{frames}:{bins}"
        self._file.write(half.tobytes())
        self._offset += value.size
        return place

    def close(self) -> None:
        self._file.close()

    def __exit__(self, exc_type, exc_val, exc_tb) -> None:
        self.close()


@register_reader
class HalfArchiveReader(FeaturesReader):
    """Read matrices ``(T, F)``, as float32."""

    name = "gmot_half_archive"

    def __init__(self, storage_path: os.PathLike):
        super().__init__()
        self.storage_path = str(storage_path)

    def read(
        self, key: str, left_offset_frames: int = 0, right_offset_frames: Optional[int] = None
    ) -> np.ndarray:
        offset, frames, bins = parse_key(key)
        values = _open(self.storage_path)[offset : offset + frames * bins]
        matrix = values.reshape(frames, bins)[left_offset_frames:right_offset_frames]
        return matrix.astype(np.float32)


@functools.lru_cache(maxsize=1024)
def _map(path: str, inode: int, modified: int) -> np.ndarray:
    return np.memmap(path, DTYPE, "r")


def _open(path: str) -> np.ndarray:
    # An archive that was made anew under the same name is another file.
    status = os.stat(path)
    return _map(path, status.st_ino, status.st_mtime_ns)
