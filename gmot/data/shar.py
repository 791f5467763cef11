"""Features in lhotse's Shar format, read by position.

``<prefix>_shar_<split>/`` holds what ``CutSet.to_shar(folder, {"features": "numpy"})`` writes:
``cuts.NNNNNN.jsonl.gz`` and, of the same cuts in the same order, ``features.NNNNNN.tar``. lhotse
reads the archives from end to end, in an order of its own; here the headers are scanned once, so
that a split has the same batches as any other. Positions are kept beside the folder, in
``<prefix>_shar_<split>.json``.
"""

import json
import logging
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lhotse.features.io import FeaturesReader, get_reader, register_reader

from gmot.common import GmotError, PathLike, atomic_path
from gmot.data.archive import map_file
from gmot.data.audio import file_state
from gmot.data.manifests import read_records

log = logging.getLogger(__name__)

# Suffix of a matrix -> lhotse's reader of its bytes.
READERS = {".npy": "memory_npy", ".llc": "memory_lilcom"}
REMEDY = "Write the folder again (CutSet.to_shar with the field 'features')."

Member = tuple[str, str, int, int]  # utterance, lhotse's reader, offset and size in bytes


class SharReader(FeaturesReader):
    """Reader of matrices ``(T, F)``, as float32, from a tar file; keys are
    ``reader:offset:size``, with the reader of :data:`READERS`."""

    name = "gmot_shar"

    def __init__(self, storage_path: os.PathLike):
        self.storage_path = str(storage_path)

    def read(
        self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None
    ) -> np.ndarray:
        reader, offset, size = key.split(":")
        status = os.stat(self.storage_path)  # a file may be replaced under the same name
        content = map_file(self.storage_path, status, np.uint8)
        data = content[int(offset) : int(offset) + int(size)].tobytes()
        matrix = get_reader(reader)("").read(data, left_offset_frames, right_offset_frames)
        return np.asarray(matrix, np.float32)


def register() -> None:
    """Make lhotse know :class:`SharReader` in this process."""
    register_reader(SharReader)


def shar_folder(fbank_dir: PathLike, prefix: str, split: str) -> Path:
    """Folder of a split in Shar format."""
    return Path(fbank_dir) / f"{prefix}_shar_{split}"


def read_shar(folder: Path, add: Callable[[dict[str, Any]], None]) -> None:
    """Give the records of all cuts to ``add``, with the places of their features.

    Raises:
      GmotError: files are missing or broken, or cuts and features do not belong together.
    """
    cuts, archives = (
        {path.name.split(".")[1]: path for path in folder.glob(f"{field}.*.{suffix}")}
        for field, suffix in (("cuts", "jsonl.gz"), ("features", "tar"))
    )
    if not cuts or cuts.keys() != archives.keys():
        found = f"{len(cuts)} files of cuts and {len(archives)} of features"
        raise GmotError(f"{folder}: {found}, expected as many of both. {REMEDY}")
    members = _members(folder, [archives[shard] for shard in sorted(archives)])
    for shard in sorted(cuts):
        _read_shard(cuts[shard], archives[shard], members[archives[shard].name], add)


def _read_shard(cuts: Path, archive: Path, members: list[Member], add: Callable) -> None:
    remaining = iter(members)

    def place(record: dict[str, Any]) -> None:
        name, reader, offset, size = next(remaining, ("nothing", "", 0, 0))
        if name != record["id"]:
            raise ValueError(f"cut '{record['id']}', but {archive.name} holds '{name}' there")
        record["features"].update(
            storage_type=SharReader.name,
            storage_path=str(archive.absolute()),
            storage_key=f"{reader}:{offset}:{size}",
        )
        add(record)

    read_records(cuts, "cuts", place)


def _members(folder: Path, archives: list[Path]) -> dict[str, list[Member]]:
    """Archive -> places of its matrices, from earlier scans where the archive is the same."""
    index = folder.with_name(f"{folder.name}.json")
    try:
        known = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found = {}
    for path in archives:
        state = list(file_state(path))
        entry = known.get(path.name) or {}
        if entry.get("state") != state:
            entry = {"state": state, "members": _scan(path)}
        found[path.name] = entry
    if found != known:
        try:
            with atomic_path(index) as temporary:
                temporary.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            log.info("%s: not written (%s), archives will be scanned again", index, error.strerror)
    return {name: entry["members"] for name, entry in found.items()}


def _scan(path: Path) -> list[Member]:
    try:
        with tarfile.open(path, "r:") as archive:
            return [
                (name, READERS[suffix], member.offset_data, member.size)
                for member in archive
                for name, suffix in [os.path.splitext(member.name)]
                if suffix in READERS
            ]
    except (OSError, tarfile.TarError) as error:
        raise GmotError(f"{path}: not an archive of features ({error}). {REMEDY}") from None
