"""Archives of a corpus: fetched, checked by their MD5, unpacked; whole or not at all."""

import errno
import gzip
import hashlib
import http.client
import logging
import os
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Dict, List, Sequence, Union

from tqdm import tqdm

from gmot.common import GmotError, PathLike, atomic_path, require_file

log = logging.getLogger(__name__)

CHUNK = 1 << 20
TRIES = 5  # of a download that makes no progress
TIMEOUT = 60  # seconds without a byte
PAUSE = 2.0  # seconds before the second try; then twice as long, and so on
NESTED = ("*.tar.gz", "*.tgz")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SUMS = "md5sum.txt"
_BROKEN = (EOFError, OSError, tarfile.TarError, zlib.error)


def read_checksums(path: PathLike) -> Dict[str, str]:
    """MD5 by file name, from a list as ``md5sum`` writes it.

    Raises:
      GmotError: it is missing or is no such list.
    """
    path = require_file(path, "checksums", "It has a line 'MD5  NAME' for each archive.")
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{32}) [ *](.+)", line.strip())
        if match:
            sums[match.group(2)] = match.group(1).lower()
        elif line.strip() and not line.startswith("#"):
            raise GmotError(
                f"{path}: '{line.strip()[:80]}', expected 'MD5  NAME' as md5sum writes."
            )
    return sums


def obtain(
    names: Sequence[str],
    checksums: PathLike,
    archive_dir: PathLike,
    corpus_dir: PathLike,
    mirror: str = "",
) -> List[Path]:
    """Unpack archives, each ``X.tgz`` to the folder ``X`` in ``corpus_dir``; fetch those missing.

    A folder that was unpacked from an archive of the same checksum is left as it
    is, and then its archive is not needed any more.

    Args:
      names: of the archives.
      checksums: list of their MD5. A list ``md5sum.txt`` beside archives goes
        before it: they are not the official ones, and say so.
      archive_dir: has the archives, or gets them.
      corpus_dir: gets the folders.
      mirror: URL of a folder with the archives, or a local folder, which is read
        in place; nothing: only ``archive_dir`` is looked at.
    Returns:
      The folders.
    Raises:
      GmotError: an archive is missing, cannot be fetched, or is not what it should be.
    """
    archive_dir, corpus_dir = Path(archive_dir), Path(corpus_dir)
    local = _local_folder(mirror)
    if local is not None:
        if not local.is_dir():
            raise GmotError(f"--mirror {mirror}: no such folder. Give that of the archives.")
        archive_dir, mirror = local, ""
    if (archive_dir / _SUMS).is_file():
        checksums = archive_dir / _SUMS
        log.info("checksums of %s, not the official ones", checksums)
    sums = read_checksums(checksums)
    folders = []
    for name in names:
        if name not in sums:
            raise GmotError(f"{checksums}: says nothing of {name}. Add its line.")
        folder = corpus_dir / name.split(".")[0]
        stamp = corpus_dir / f".{name}.md5"
        folders.append(folder)
        if folder.is_dir() and stamp.is_file() and stamp.read_text() == sums[name]:
            log.info("%s: unpacked already", folder)
            continue
        archive = archive_dir / name
        if archive.is_file():
            _verify(archive, sums[name])
        elif mirror:
            log.info("fetching %s from %s into %s", name, mirror, archive_dir)
            download(f"{mirror.rstrip('/')}/{name}", archive, sums[name])
        else:
            raise GmotError(
                f"neither {folder.name}/ nor {name} in {archive_dir}. Give the folder that has "
                "them, or leave it out to have them downloaded."
            )
        log.info("unpacking %s to %s", archive, folder)
        stamp.unlink(missing_ok=True)  # from here on it may be untrue
        unpack(archive, folder)
        with atomic_path(stamp) as path:
            path.write_text(sums[name])
    return folders


def _local_folder(mirror: str) -> Union[Path, None]:
    """The folder that a ``file://`` URL or a path means."""
    parts = urllib.parse.urlsplit(mirror)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(mirror) if mirror and "://" not in mirror else None


# --- fetching ----------------------------------------------------------------------------------


def download(url: str, path: PathLike, md5: str) -> None:
    """Fetch a file; ``path`` appears when it is whole.

    What has come lies in ``path.part``: a later call goes on from there.

    Raises:
      GmotError: the server gives it not, or gives something else.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _fetch(url, part)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise GmotError(
                    f"{url}: the server answers {error.code} ({error.reason}). "
                    "Give another --mirror."
                ) from None
            trouble: Exception = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and (error.filename or error.errno in NO_ROOM):
                raise GmotError(f"{part}: cannot be written ({error}).") from None
            trouble = error
        failures = 1 if part.exists() and part.stat().st_size > before else failures + 1
        if failures == TRIES:
            raise GmotError(
                f"{url}: {type(trouble).__name__}: {trouble}. What has come is kept in {part}: "
                "run the same command again to go on, or give another --mirror."
            )
        pause = PAUSE * 2 ** (failures - 1)
        log.warning("%s: %s; once more in %.0f s", url, trouble, pause)
        time.sleep(pause)
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise GmotError(
            f"{url}: MD5 {found}, expected {md5}. It is deleted; run the same command again to "
            "fetch it anew, or give another --mirror."
        )
    part.replace(path)


def _fetch(url: str, part: Path) -> None:
    """Append what is missing of a file."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (compatible; gmot)"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:  # nothing after these bytes: the checksum will tell
            return
        raise
    except ValueError as error:
        raise GmotError(f"{url}: not a URL ({error}). Give another --mirror.") from None
    with answer:
        if start and answer.status != 206:
            log.warning("%s: the server cannot go on from the middle; from the start again", url)
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        with open(part, "ab" if start else "wb") as file, _bar(part.name, total, start) as bar:
            for chunk in iter(lambda: answer.read(CHUNK), b""):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and part.stat().st_size < total:
            raise ConnectionError(f"ended after {part.stat().st_size} of {total} bytes")


def _verify(path: Path, md5: str) -> None:
    found = _md5(path)
    if found != md5:
        raise GmotError(
            f"{path}: MD5 {found}, expected {md5}: cut off, damaged, or another file. Move it away "
            "and run the same command again."
        )


def _md5(path: Path) -> str:
    digest = hashlib.md5()
    with open(path, "rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _bar(what: str, total: Union[int, None], initial: int = 0) -> tqdm:
    """A bar of bytes on a terminal, a line a minute in a log."""
    interval = 0.1 if sys.stderr.isatty() else 60
    return tqdm(
        desc=what, total=total, initial=initial, unit="B", unit_scale=True, mininterval=interval
    )


# --- unpacking ---------------------------------------------------------------------------------


def unpack(archive: PathLike, folder: PathLike) -> None:
    """Unpack ``X.tgz`` to the folder ``X``, which appears when it is whole.

    All of the archive lies in one folder ``X``. Archives inside it
    (``*.tar.gz``) are unpacked where they lie and go.

    Raises:
      GmotError: the archive is damaged, leaves its folder, or holds anything but files.
    """
    archive, folder = Path(archive), Path(folder)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        with _bar(f"unpacking {archive.name}", archive.stat().st_size) as bar:
            _extract(archive, archive.name, temporary, folder.name, bar)
        inner = sorted(path for pattern in NESTED for path in temporary.rglob(pattern))
        for path in tqdm(inner, desc=f"archives in {archive.name}", unit="file", disable=None):
            name = f"{archive.name}: {path.relative_to(temporary).as_posix()}"
            _extract(path, name, path.parent)
            path.unlink()


def _extract(
    archive: Path, name: str, target: Path, top: str = "", bar: Union[tqdm, None] = None
) -> None:
    """Write the files of an archive; ``top`` is the folder they all lie in, left out of names."""
    try:
        with open(archive, "rb") as raw, gzip.open(raw) as unzipped:
            with tarfile.open(fileobj=unzipped, mode="r|") as tar:
                for member in tar:
                    path = _place(member, name, target, top)
                    if bar is not None:
                        bar.update(raw.tell() - bar.n)
                    if member.isdir():
                        path.mkdir(parents=True, exist_ok=True)
                        continue
                    path.parent.mkdir(parents=True, exist_ok=True)
                    content = tar.extractfile(member)
                    assert content is not None  # a file has some
                    with open(path, "xb") as file:
                        _copy(content, file, member.size)
            # tarfile does not look at what follows, and so not at the checksum of gzip.
            while unzipped.read(CHUNK):
                pass
    except FileExistsError as error:
        raise GmotError(f"{name}: two files of the name {error.filename}.") from None
    except _BROKEN as error:
        if isinstance(error, OSError) and (error.filename or error.errno in NO_ROOM):
            raise GmotError(f"{name}: cannot be unpacked ({error}).") from None
        raise GmotError(
            f"{name}: cut off or damaged ({type(error).__name__}: {error}). Get it again; nothing "
            "of it is kept."
        ) from None


def _copy(content: BinaryIO, file: BinaryIO, size: int) -> None:
    shutil.copyfileobj(content, file, CHUNK)
    if file.tell() != size:
        raise EOFError(f"a file of {size} bytes ends after {file.tell()}")


def _place(member: tarfile.TarInfo, name: str, target: Path, top: str) -> Path:
    """Where a member goes."""
    path = PurePosixPath(member.name)
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or "\\" in member.name:
        raise GmotError(f"{name}: '{member.name}' leaves the folder. This is not the archive.")
    if not (member.isfile() or member.isdir()):
        raise GmotError(f"{name}: '{member.name}' is neither file nor folder. Not the archive.")
    if top:
        if parts[:1] not in ([top], []):
            raise GmotError(f"{name}: '{member.name}' is not in '{top}/', as all of it should be.")
        parts = parts[1:]
    return target.joinpath(*parts)
