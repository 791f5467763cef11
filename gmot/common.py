"""Utilities: user-facing errors, atomic writes, logging."""

import contextlib
import errno
import glob
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import platform
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

PathLike = str | Path
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a quota, a limit on a file
_DAY = 24 * 3600.0  # seconds


class GmotError(Exception):
    """An error that the user can fix: file or utterance, found, expected, next step.

    Scripts print it without a traceback and exit with status 1.
    """


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Temporary path beside a file or folder, which it replaces on success, flushed to the disk.

    It keeps the suffixes, by which writers choose their format. The target of a symbolic link is
    written. Several machines may write in one folder.
    """
    name, path = Path(path).name, Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"[^\w.]", "_", platform.node())
    for other in path.parent.glob(f".tmp-*-*-{glob.escape(name)}"):
        if _is_stale(other, host):
            _remove(other)
    temporary = path.parent / f".tmp-{host}-{os.getpid()}-{name}"
    replaced = path.parent / f".tmp-{host}-{os.getpid()}-old-{name}"
    try:
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.is_dir():
            os.replace(path, replaced)  # a folder cannot be replaced in one step, nor removed
        try:
            os.replace(temporary, path)
        except OSError:
            if replaced.exists():
                os.replace(replaced, path)
            raise
        _flush(path.parent, recursive=False)
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # of numpy: "9 requested and 6 written"
            raise OSError(errno.ENOSPC, f"written in part ({error})", str(path)) from None
        if error.filename is None and error.errno in _FULL:
            error.filename = str(path)  # write() does not know it
        raise
    finally:
        _remove(temporary)
        _remove(replaced)


def _flush(path: Path, recursive: bool = True) -> None:
    """Write a file to the disk, or a folder with (``recursive``) or without its content."""
    folder = path.is_dir()
    if folder and recursive:
        for inner in path.iterdir():
            if not inner.is_symlink():
                _flush(inner)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise  # some file systems cannot flush folders
    finally:
        os.close(descriptor)


def empty_folder(path: PathLike) -> None:
    """Make an empty folder (the target of a symbolic link)."""
    folder = Path(os.path.realpath(path))
    folder.mkdir(parents=True, exist_ok=True)
    for inner in folder.iterdir():
        _remove(inner)


def _is_stale(temporary: Path, host: str) -> bool:
    """Whether a file of :func:`atomic_path` was left by a killed process."""
    _, there, pid, *_ = temporary.name.split("-")
    if there == host and pid.isdigit():
        return not _is_running(int(pid))
    try:
        return time.time() - temporary.stat().st_mtime > _DAY  # of another machine
    except OSError:
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()  # else: of an earlier process with this number


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_lines(path: PathLike, lines: Iterable[str]) -> None:
    """Write lines as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_json(path: PathLike, value: Any) -> None:
    """Write ``value`` as JSON, atomically."""
    write_lines(path, [json.dumps(value, ensure_ascii=False, indent=1)])


def save_tensors(path: PathLike, value: Any) -> None:
    """``torch.save``, atomically. A full disk is an OSError.

    torch's own writer raises a RuntimeError, and that of torch 1.13, given a file object, aborts
    the process.
    """
    import torch

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        writer = _Writer(file)
        torch.save(value, writer)
        if writer.error is not None:
            raise writer.error


class _Writer:
    """File that keeps the first error of its writes."""

    def __init__(self, file: Any):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        pass


def read_json(path: PathLike) -> Any:
    """Content of a JSON file; raises GmotError if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GmotError(f"{path}: not found. Run the stage that makes it first.") from None
    except ValueError as error:
        remedy = "Delete it and run its stage again."
        raise GmotError(f"{path}: not valid JSON ({error}). {remedy}") from None


def holds_json(path: PathLike, value: Any) -> bool:
    """Whether a JSON file has this value; False if it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8")) == value
    except (OSError, ValueError):
        return False


def read_utf8(path: PathLike, encoding: str = "utf-8") -> str:
    """Text of a file (``utf-8-sig`` drops a byte order mark); raises GmotError if not UTF-8."""
    try:
        return Path(path).read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise GmotError(f"{path}: not UTF-8 ({error}). Convert it with iconv.") from None


def fingerprint(*parts: Any) -> str:
    """Short stable hash of strings, bytes, numbers and tensors."""
    digest = hashlib.sha256()
    for part in parts:
        if hasattr(part, "detach"):  # a tensor; torch is not needed here otherwise
            part = part.detach().cpu().numpy().tobytes()
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def seed_of(*key: Any) -> int:
    """Seed of a generator (56 bits) that is a function of ``key``."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:7], "little")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a device or of this machine was exhausted."""
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(t in text for t in texts)
    )


def require_file(path: PathLike, what: str, remedy: str) -> Path:
    """``path``; raises GmotError if the file is missing or empty."""
    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0:
        raise GmotError(f"{what}: {path} is {'empty' if path.is_file() else 'not there'}. {remedy}")
    return path


def require_extra(extra: str, *modules: str) -> None:
    """Raises ModuleNotFoundError, which names the extra, if one of its packages is missing."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            remedy = f"install the extra, pip install 'gmot[{extra}]'"
            raise ModuleNotFoundError(f"No module named '{name}': {remedy}", name=name)


def import_quietly(name: str) -> Any:
    """Import a third-party package without the warnings of its import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def setup_logging(log_file: PathLike | None = None) -> None:
    """Log to stderr (and to ``log_file``) as ``date time level message``."""
    handlers: list = [logging.StreamHandler()]
    if log_file is not None:
        Path(os.path.realpath(log_file)).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=handlers,
        force=True,
    )


def use_avx2_in_mkl(cpuinfo: PathLike = "/proc/cpuinfo") -> None:
    """Let MKL 2020.0 of torch 1.13 use AVX2 on AMD processors: matrix products 3 times faster.

    It takes its slowest kernels on processors of other makers unless an environment variable, which
    later versions ignore, says otherwise. Must be called before the first product; started
    processes inherit it.
    """
    try:
        with open(cpuinfo, encoding="utf-8") as file:
            words = set(file.read(8192).split())  # the first core
    except OSError:
        return
    if {"AuthenticAMD", "avx2", "fma"} <= words:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


def limit_spinning() -> None:
    """Let OpenMP's threads spin for a short time while they wait for each other, then sleep.

    Threads that spin keep those that they wait for from running when the machine has other work; if
    they sleep at once, each of the many small operations of a step has to wake them. The count is
    between both (docs/training_speed.md). To be called before torch is imported; the user's
    OMP_WAIT_POLICY or GOMP_SPINCOUNT wins.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # libgomp's default: 300,000


def run(main: Callable[[], Any]) -> None:
    """Run a script's ``main``; errors that the user can fix are one line with status 1."""
    setup_logging()
    use_avx2_in_mkl()
    limit_spinning()
    try:
        main()
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command to resume", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)


def explain(error: Exception) -> str | None:
    """Message of an error for the user; None for a bug, which keeps its traceback."""
    if isinstance(error, GmotError):
        return str(error)
    found = " ".join(str(error).split())
    if isinstance(error, ImportError) and not (error.name or "").startswith("gmot"):
        return (
            f"{error.name or 'a package'} cannot be imported ({found}). Install what "
            "'python local/check_environment.py' finds missing: bash shared/environment.sh"
        )
    if isinstance(error, MemoryError):
        return f"out of memory ({found}). Use fewer processes or smaller batches."
    if isinstance(error, OSError):
        if error.filename is None:
            return f"{type(error).__name__}: {found}"
        if error.errno in _FULL:
            remedy = "Make room on the disk and run the same command again."
        else:
            remedy = "Check the path, its rights and the disk."
        return f"{error.filename}: {error.strerror}. {remedy}"
    if isinstance(error, RuntimeError) and "DataLoader worker" in found:
        return (
            f"a loading process was killed, most often because memory was short ({found}). "
            "Use fewer num_workers and run the same command again to resume."
        )
    return None
