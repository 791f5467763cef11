"""Comparison of experiments by paired bootstrap (:mod:`gmot.evaluation.bootstrap`)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gmot.common import GmotError, PathLike
from gmot.evaluation import bootstrap
from gmot.evaluation.bootstrap import Speakers
from gmot.evaluation.files import read_recogs, recogs_path
from gmot.evaluation.report import choose
from gmot.evaluation.scoring import Score, score

REMEDY = (
    "Decode again (local/decode.py stores the speakers of the cuts; the corpus needs an utt2spk), "
    "or use --unit utterance."
)


@dataclass(frozen=True)
class Run:
    """Recognition results of one trained model.

    Attributes:
      name: unique name; often derived from the file.
      refs, hyps: utterance -> reference, hypothesis.
      speakers: utterance -> speaker, if known.
      file: source, for messages.
    """

    name: str
    refs: dict[str, str]
    hyps: dict[str, str]
    speakers: Speakers = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True)
class Compared:
    """An experiment compared with the first one. Rates are in per cent.

    Attributes:
      name: names of its runs.
      scores: one per training seed.
      cer: mean over the seeds.
      ci_low, ci_high: 95 % interval of the CER.
      difference: CER minus that of the first experiment; negative if better.
      low, high: 95 % interval of the difference, paired.
      improvement: bootstrap probability of fewer errors than the first one; replications with equal
        errors count half.
      p: two-sided bootstrap p-value of no difference.
      corrected_p: corrected for the number of comparisons (Holm).
    """

    name: str
    scores: Sequence[Score]
    cer: float
    ci_low: float
    ci_high: float
    difference: float
    low: float
    high: float
    improvement: float
    p: float
    corrected_p: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """Experiments compared with the first of them (which has a difference of 0).

    Attributes:
      experiments: in the given order.
      unit: unit of resampling, ``utterance`` or ``speaker``.
    """

    experiments: Sequence[Compared]
    unit: str

    @property
    def conditions(self) -> str:
        """What the intervals resample and what they are conditional on."""
        first = self.experiments[0].scores[0]
        seeds = [len(experiment.scores) for experiment in self.experiments]
        return bootstrap.conditions(self.unit, first.num_utterances, first.num_speakers, seeds)


def compare(
    experiments: Sequence[Sequence[Run]],
    unit: str = "utterance",
    replications: int = 10000,
    seed: int = 0,
) -> Comparison:
    """Compare experiments with the first one, on the same draws of utterances or speakers.

    Args:
      experiments: two or more; each the runs of one configuration with different training seeds,
        all with the same utterances, references and speakers.
      unit: unit of resampling, ``utterance`` or ``speaker``.
      replications: number of bootstrap replications.
      seed: random seed of the bootstrap.
    Raises:
      GmotError: fewer than two experiments, no replications, runs with different utterances,
        references or speakers, or the unit ``speaker`` without speakers.
    """
    if len(experiments) < 2:
        raise GmotError(f"compare: {len(experiments)} experiments, expected two or more.")
    if replications < 1:
        raise GmotError(f"compare: {replications} replications, expected 1 or more.")
    first = experiments[0][0]
    for run in (run for runs in experiments for run in runs):
        if unit == "speaker":
            bootstrap.require_speakers(list(run.refs), run.speakers, run.file or run.name, REMEDY)
        _check_same(first, run)
    scores = [[score(r.refs, r.hyps, speakers=r.speakers) for r in runs] for runs in experiments]
    owners = [first.speakers[u] for u in scores[0][0].alignments] if unit == "speaker" else None
    counts = [s.utterance_counts for of_one in scores for s in of_one]
    columns = [counts[0][:, 3], *(c[:, :3].sum(axis=1) for c in counts)]
    sums = bootstrap.resample(np.stack(columns, axis=1), replications, seed, owners)
    lengths = np.maximum(1, sums[:, 0])
    errors = np.split(sums[:, 1:], np.cumsum([len(s) for s in scores])[:-1], axis=1)
    streams = np.random.SeedSequence(seed).spawn(len(scores))  # independent of the units' draws
    drawn = [bootstrap.resample_seeds(e, np.random.default_rng(s)) for e, s in zip(errors, streams)]
    cers = [sum(s.cer for s in of_one) / len(of_one) for of_one in scores]
    (first_errors, first_seeds), found = drawn[0], []
    for runs, of_one, cer, (made, seeds) in zip(experiments, scores, cers, drawn):
        more = made * first_seeds - first_errors * seeds  # integers, so that ties are exact
        found.append(
            Compared(
                " + ".join(run.name for run in runs),
                of_one,
                cer,
                *bootstrap.interval(100.0 * made / (seeds * lengths)),
                cer - cers[0],
                *bootstrap.interval(100.0 * more / (seeds * first_seeds * lengths)),
                float(np.mean(more < 0) + 0.5 * np.mean(more == 0)),
                bootstrap.p_value(more),
            )
        )
    corrected = [1.0, *bootstrap.holm([c.p for c in found[1:]])]
    return Comparison([replace(c, corrected_p=p) for c, p in zip(found, corrected)], unit)


def _check_same(first: Run, other: Run) -> None:
    what = f"'{first.file or first.name}' and '{other.file or other.name}' cannot be compared"
    if first.refs.keys() != other.refs.keys():
        raise GmotError(
            f"{what}: different utterances; only in the first: "
            f"{sorted(first.refs.keys() - other.refs.keys())[:3]}, only in the second: "
            f"{sorted(other.refs.keys() - first.refs.keys())[:3]}. Decode the same split with the "
            "same manifests."
        )
    of_both = [("references", first.refs, other.refs)]
    if first.speakers and other.speakers:
        of_both.append(("speakers", dict(first.speakers), dict(other.speakers)))
    for kind, one, two in of_both:
        differ = [name for name in sorted(first.refs) if one.get(name) != two.get(name)]
        if differ:
            raise GmotError(
                f"{what}: {len(differ)} {kind} differ; of '{differ[0]}': '{one.get(differ[0])}' "
                f"and '{two.get(differ[0])}'. Decode both with the same manifests."
            )


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
