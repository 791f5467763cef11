"""Provenance of results: versions, commit, machine, and the runs of a training (config.json)."""

import argparse
import datetime
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike, read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
RUNS = "config.json"  # in the folder of an experiment
BOARD = "tensorboard"  # folder of TensorBoard's event files
SKIPPED = "skipped.jsonl"  # skipped updates
PACKAGES = ("torch", "k2", "lhotse", "transformers", "numpy", "kaldialign")


def environment() -> dict[str, Any]:
    """Versions and machine of this process; imports nothing heavy and never fails.

    ``cpus`` are those available to this process; ``commit`` and ``dirty`` are None outside a git
    checkout, versions of :data:`PACKAGES` that are not installed, too.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    commit = _git("rev-parse", "--short=10", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node() or None,
        "cpus": len(affinity(0)) if affinity else os.cpu_count(),
        "commit": commit,
        "dirty": bool(status) if commit and status is not None else None,
        **{name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str | None:
    """Version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def command() -> str:
    """Command line of this process for others: paths relative to the checkout, ``~`` for home."""
    home = os.path.expanduser("~") + os.sep
    words = ["python"]
    for word in sys.argv:
        word = word.replace(f"{ROOT}{os.sep}", "")
        if word.startswith(home):
            word = f"~{os.sep}{word.removeprefix(home)}"
        words.append(word if word.startswith("~") else shlex.quote(word))
    return " ".join(words)


def choose_device(name: str, num_threads: int = 0) -> Any:
    """Device of ``--device``; sets the threads of ``--num-threads``.

    Args:
      name: ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto``: the GPU if there is one.
      num_threads: of torch on the CPU; 0: torch's default.
    Raises:
      GmotError: no such device.
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


def describe_run(args: argparse.Namespace) -> dict[str, Any]:
    """Date, command, options (configurations as dictionaries) and environment of this process."""
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command(),
        "arguments": {k: asdict(v) if is_dataclass(v) else v for k, v in vars(args).items()},
        "environment": environment(),
    }


def add_run(exp_dir: PathLike, run: dict, first_epoch: int, config: dict[str, Any]) -> None:
    """Append a run of :func:`describe_run`, which trains from ``first_epoch`` (from 1) on.

    ``run`` may hold ``first_update`` of that epoch (from 1), and ``changes`` of the configuration.
    ``config.json`` holds ``runs``, oldest first, and the ``config`` of the training. Raises
    GmotError if it holds something else.
    """
    runs = [*_runs(exp_dir), {"first_epoch": first_epoch, **run}]
    write_json(Path(exp_dir) / RUNS, {"config": config, "runs": runs})


def runs_behind(exp_dir: PathLike, epoch: int) -> list[dict[str, Any]]:
    """Runs that trained epochs 1 to ``epoch``, oldest first, without their options.

    Left out: runs that finished no epoch, or whose epochs a later run trained again. Raises
    GmotError if ``config.json`` holds something else.
    """
    found: list[dict[str, Any]] = []
    for run in _runs(exp_dir):
        found = [*(r for r in found if _first(r) < _first(run)), run]
    behind = [r for r in found if r["first_epoch"] <= epoch]
    return [{k: v for k, v in run.items() if k != "arguments"} for run in behind]


def _first(run: dict[str, Any]) -> tuple[int, int]:
    """First epoch and update of a run, from 1."""
    return run["first_epoch"], run.get("first_update", 1)


def training_runs(training: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Runs in a record of ``results.json`` or in ``config.json``, oldest first."""
    return (training or {}).get("runs", [])


def _runs(exp_dir: PathLike) -> list[dict[str, Any]]:
    path = Path(exp_dir) / RUNS
    if not path.exists():
        return []
    content = read_json(path)
    runs = content.get("runs", []) if isinstance(content, dict) else None
    if not isinstance(runs, list) or any("first_epoch" not in run for run in runs):
        raise GmotError(f"{path}: expected 'config' and 'runs' of a training. Delete it.")
    return runs


def _git(*arguments: str) -> str | None:
    """Output of a git command in this checkout; None for a package without its own repository."""
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
