"""Sizes and times of a corpus's files, so that a stage knows when one of them has changed."""

import hashlib
import os
from pathlib import Path
from typing import Iterator, Sequence, Tuple

from gmot.common import PathLike

ARCHIVES = (".tgz", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip", ".part")


def file_state(path: PathLike) -> Tuple[int, ...]:
    """Size and time of change (ns); empty for a file that is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns


def corpus_state(places: Sequence[PathLike], without: Sequence[PathLike] = ()) -> str:
    """Number of files and a digest of their names, sizes and times of change.

    Args:
      places: folders, whose files count at any depth but for hidden ones and archives, and
        ``wav.scp`` files, whose audio counts.
      without: folders that do not count.
    """
    digest = hashlib.sha256()
    count = 0
    for place in places:
        folder = os.path.isdir(place)
        skipped = {os.path.realpath(path) for path in without}
        found = _files_below(str(place), skipped) if folder else _audio_of(Path(place))
        for name, state in sorted(found):
            digest.update(f"{name}\t{state}\n".encode("utf-8", "surrogateescape"))
            count += 1
    return f"{count} files, {digest.hexdigest()[:16]}"


def _files_below(top: str, skipped: set) -> Iterator[Tuple[str, Tuple[int, ...]]]:
    folders = [top]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in skipped:
            continue
        skipped.add(real)  # links may lead in a circle
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.path)
                elif not entry.name.endswith(ARCHIVES):
                    yield entry.path[len(top) :], file_state(entry.path)


def _audio_of(scp: Path) -> Iterator[Tuple[str, Tuple[int, ...]]]:
    try:
        lines = scp.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError:
        return
    parent = str(scp.parent)
    for fields in (line.split(maxsplit=1) for line in lines):
        if fields:
            path = fields[1].strip() if len(fields) > 1 else ""
            yield fields[0], file_state(os.path.join(parent, path))
