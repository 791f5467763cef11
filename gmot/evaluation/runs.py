"""Runs to be compared, from recogs files and ``results.json``."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike
from gmot.evaluation.bootstrap import Speakers
from gmot.evaluation.files import read_recogs, recogs_path
from gmot.evaluation.report import choose
from gmot.text.scoring_units import METRICS, Metric


@dataclass(frozen=True)
class Run:
    """Recognition results of one trained model.

    Attributes:
      name: unique name; often derived from the file.
      refs, hyps: utterance -> reference, hypothesis.
      speakers: utterance -> speaker, if known.
      groups: utterance -> group, if known.
      file: source, for messages.
    """

    name: str
    refs: dict[str, str]
    hyps: dict[str, str]
    speakers: Speakers = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    def of_group(self, group: str) -> "Run":
        """The utterances of a group."""
        members = [u for u, found in self.groups.items() if found == group]
        kept = [
            {u: of_run[u] for u in members if u in of_run}
            for of_run in (self.refs, self.hyps, self.speakers, self.groups)
        ]
        return Run(self.name, *kept, file=self.file)


def read_experiments(paths: Sequence[Sequence[PathLike]]) -> list[list[Run]]:
    """Runs from recogs files of training seeds, named by the distinct parts of their paths.

    Raises:
      GmotError: a file is missing, malformed or given twice for one experiment.
    """
    for files in paths:
        distinct = len({Path(path).resolve() for path in files})
        if distinct < len(files):
            raise GmotError(
                f"{files[0]} ...: {len(files)} files of one experiment, but {distinct} distinct "
                "ones. Give each training seed once."
            )
    names = iter(_names([path for files in paths for path in files]))
    return [
        [Run(next(names), *read_recogs(path), file=str(path)) for path in files] for files in paths
    ]


def _names(paths: Sequence[PathLike]) -> list[str]:
    """Paths without their common first and last components."""
    parts = [Path(path).parts for path in paths]
    if len(set(parts)) == 1:
        return [str(path) for path in paths]
    start = len(os.path.commonprefix(parts))
    end = len(os.path.commonprefix([p[start:][::-1] for p in parts]))
    return ["/".join(p[start : len(p) - end]) or str(Path(*p)) for p in parts]


def find_recogs(
    exp_dirs: Sequence[PathLike],
    split: str,
    method: str,
    epoch: int | None = None,
    avg: int | None = None,
) -> list[Path]:
    """Recogs files of one experiment.

    Args:
      exp_dirs: experiment folders, one per training seed, with a ``results.json``.
      split, method: decoded split and decoding method.
      epoch, avg: of the results; None: the last decoded ones.
    Raises:
      GmotError: a folder without such results, two with the same training seed or with different
        configurations.
    """
    paths = []
    seeds: dict[int, Path] = {}
    first: dict[str, Any] | None = None
    for exp_dir in map(Path, exp_dirs):
        record = choose(exp_dir / "results.json", epoch, avg, split, method)[-1]
        paths.append(recogs_path(exp_dir, record))
        seed, transfer = record.get("seed"), record.get("transfer") or {}
        if seed is not None and seed in seeds:
            raise GmotError(
                f"{seeds[seed]} and {exp_dir} have the same training seed {seed}. Give runs of "
                "different seeds (local/train.py --training.seed)."
            )
        seeds[seed] = exp_dir
        first = transfer if first is None else first
        keys = sorted(first.keys() | transfer.keys())
        differing = [key for key in keys if first.get(key) != transfer.get(key)]
        if differing:
            raise GmotError(
                f"{exp_dirs[0]} and {exp_dir} are different experiments and cannot be pooled: "
                + ", ".join(f"{key} {first.get(key)} and {transfer.get(key)}" for key in differing)
                + ". Separate them by --against."
            )
    return paths


def scored_metrics(
    exp_dirs: Sequence[PathLike],
    split: str,
    method: str,
    epoch: int | None = None,
    avg: int | None = None,
) -> list[Metric]:
    """Metrics that all experiments were scored by, in the order of the first one.

    The arguments are those of :func:`find_recogs`.

    Raises:
      GmotError: a folder without such results, or no metric in common.
    """
    selection = (epoch, avg, split, method)
    found = [choose(Path(d) / "results.json", *selection)[-1]["scores"] for d in exp_dirs]
    common = [name for name in found[0] if all(name in scores for scores in found)]
    if not common:
        listed = "; ".join(f"{d}: {', '.join(scores)}" for d, scores in zip(exp_dirs, found))
        raise GmotError(f"no error rate in common ({listed}). Give one by --scoring.")
    return [METRICS[name] for name in common]
