"""What a result depends on beside its options: versions, commit, machine."""

import os
import platform
import shlex
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Optional

from gmot.common import GmotError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "k2", "lhotse", "transformers", "numpy", "kaldialign")


def environment() -> Dict[str, Any]:
    """Describe where this process runs; imports nothing heavy and never fails.

    Returns:
      ``python``, ``platform``, ``host``, ``cpus`` (those this process may use),
      ``commit`` and ``dirty`` (None outside a git checkout), and the version of
      each of :data:`PACKAGES` (None where it is not installed).
    """
    commit = _git("rev-parse", "--short=10", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": _host(),
        "cpus": _cpus(),
        "commit": commit,
        "dirty": bool(status) if commit and status is not None else None,
        **{name: _version(name) for name in PACKAGES},
    }


def command() -> str:
    """The command line of this process, to be run from the root of a checkout.

    Paths under the checkout are written relative to it, those under the home
    folder with ``~``: it is quoted in results that others read.
    """
    home = os.path.expanduser("~")
    words = []
    for word in sys.argv:
        word = word.replace(f"{ROOT}{os.sep}", "")
        words.append("~" + word[len(home) :] if word.startswith(home + os.sep) else word)
    return "python " + " ".join(w if w.startswith("~") else shlex.quote(w) for w in words)


def choose_device(name: str, num_threads: int = 0) -> Any:
    """The torch device of ``--device`` and ``--num-threads``.

    Args:
      name: ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto``: the GPU if there is one.
      num_threads: of torch on the CPU; 0 leaves its choice.
    Raises:
      GmotError: there is no such device.
    """
    import torch

    if num_threads > 0:
        torch.set_num_threads(num_threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise GmotError(f"--device {name}: {error}") from None


def _version(package: str) -> Optional[str]:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _host() -> Optional[str]:
    try:
        return socket.gethostname()
    except OSError:
        return None


def _cpus() -> Optional[int]:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count()


def _git(*arguments: str) -> Optional[str]:
    """The output of a git command in this checkout; None if there is none.

    A package that lies inside somebody else's repository (an environment in a
    project) is not this checkout.
    """
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
