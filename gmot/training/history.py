"""The runs of a training: ``config.json`` in the folder of a system."""

import argparse
import datetime
from pathlib import Path
from typing import Any, Dict, List

from gmot.common import GmotError, PathLike, read_json, write_json
from gmot.result_files import training_runs
from gmot.training.environment import command, environment

NAME = "config.json"


def describe_run(args: argparse.Namespace) -> Dict[str, Any]:
    """What led to this process: date, command, options, commit and versions.

    Args:
      args: the options of ``local/train.py``.
    """
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command(),
        "arguments": vars(args),
        "environment": environment(),
    }


def add_run(
    exp_dir: PathLike, run: Dict[str, Any], first_epoch: int, config: Dict[str, Any]
) -> None:
    """Append a run to ``config.json``: ``runs``, oldest first, and the common ``config``.

    Args:
      exp_dir: folder of the system.
      run: made by :func:`describe_run`.
      first_epoch: the first that it trains, from 1.
      config: of the training, the same in all its runs.
    Raises:
      GmotError: the file is there and is not such a file.
    """
    runs = [*_runs(exp_dir), {"first_epoch": first_epoch, **run}]
    write_json(Path(exp_dir) / NAME, {"config": config, "runs": runs})


def runs_behind(exp_dir: PathLike, epoch: int) -> List[Dict[str, Any]]:
    """The runs that trained epochs 1 to ``epoch``, oldest first, without their options.

    A run whose epochs were trained again by a later one, or that finished none, is left out.

    Raises:
      GmotError: ``config.json`` is there and is not such a file.
    """
    found: List[Dict[str, Any]] = []
    for run in _runs(exp_dir):
        first = run.get("first_epoch", 1)
        found = [r for r in found if r.get("first_epoch", 1) < first]
        found.append(run)
    behind = [r for r in found if r.get("first_epoch", 1) <= epoch]
    return [{k: v for k, v in run.items() if k != "arguments"} for run in behind]


def _runs(exp_dir: PathLike) -> List[Dict[str, Any]]:
    path = Path(exp_dir) / NAME
    if not path.exists():
        return []
    content = read_json(path)
    if not isinstance(content, dict):
        raise GmotError(f"{path}: expected 'config' and 'runs', found a list. Delete it.")
    return training_runs(content)
