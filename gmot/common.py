"""What every floor of the house uses: errors for people, atomic files, a log."""

import contextlib
import glob
import hashlib
import importlib
import json
import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, Iterator, Union

PathLike = Union[str, Path]


class GmotError(Exception):
    """An error the user can mend.

    The message says what was found, where, what was expected and what to do
    next. Scripts print it without a traceback and exit with status 1.
    """


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it there on success.

    The product appears complete or not at all. Works for files and for
    folders (the body may create either under the name it is given); a folder
    of that name is replaced. The suffixes of ``path`` are kept, because
    writers choose their format by them. Where ``path`` is a symbolic link, the
    product is made behind it.
    """
    name, path = Path(path).name, Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".tmp-*-{glob.escape(name)}"):
        if not _is_running(int(stale.name.split("-")[1])):
            _remove(stale)  # what a killed process left
    temporary = path.parent / f".tmp-{os.getpid()}-{name}"
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            _remove(path)
        os.replace(temporary, path)
    finally:
        _remove(temporary)


def empty_folder(path: PathLike) -> None:
    """Make an empty folder; where ``path`` is a symbolic link, behind it."""
    folder = Path(os.path.realpath(path))
    folder.mkdir(parents=True, exist_ok=True)
    for inner in folder.iterdir():
        _remove(inner)


def _is_running(pid: int) -> bool:
    if pid == os.getpid():
        return False  # an earlier process of the same number
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: PathLike, value: Any) -> None:
    """Write ``value`` as JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )


def read_json(path: PathLike) -> Any:
    """Read a JSON file.

    Raises:
      GmotError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GmotError(f"{path}: not found. Run the stage that makes it first.") from None
    except ValueError as error:
        raise GmotError(
            f"{path}: not valid JSON ({error}). Delete it and run its stage again."
        ) from None


def read_utf8(path: PathLike, encoding: str = "utf-8") -> str:
    """Text of a file; ``utf-8-sig`` leaves out a byte order mark.

    Raises:
      GmotError: it is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise GmotError(f"{path}: not UTF-8 ({error}). Convert it with iconv.") from None


def fingerprint(*parts: Any) -> str:
    """A short stable name for some content (strings, bytes, numbers, tensors)."""
    digest = hashlib.sha256()
    for part in parts:
        if hasattr(part, "detach"):  # a tensor; torch is not needed here otherwise
            part = part.detach().cpu().numpy().tobytes()
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def require_file(path: PathLike, what: str, remedy: str) -> Path:
    """Return ``path``.

    Raises:
      GmotError: it is not an existing, non-empty file.
    """
    path = Path(path)
    if not path.is_file():
        raise GmotError(f"{what}: {path} is not there. {remedy}")
    if path.stat().st_size == 0:
        raise GmotError(f"{what}: {path} is empty. {remedy}")
    return path


def import_quietly(name: str) -> Any:
    """Import a package of others without the warnings that its import raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def setup_logging(level: int = logging.INFO, log_file: Union[PathLike, None] = None) -> None:
    """Log to stderr (and to ``log_file``) as ``date time level message``."""
    handlers: list = [logging.StreamHandler()]
    if log_file is not None:
        Path(os.path.realpath(log_file)).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=handlers,
        force=True,
    )
