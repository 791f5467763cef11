"""Comparison of systems by paired bootstrap, with one or several training seeds each.

The estimator is described in :mod:`gmot.bootstrap`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from gmot.bootstrap import (
    Speakers,
    conditions,
    holm,
    interval,
    p_value,
    require_speakers,
    resample,
    resample_seeds,
)
from gmot.common import GmotError, PathLike
from gmot.result_files import read_recogs, recogs_path
from gmot.scoring import Score, score

Texts = Dict[str, str]
SPEAKERS_REMEDY = (
    "Decode again (local/decode.py stores the speakers of the cuts; for these the corpus needs an "
    "utt2spk), or use --unit utterance."
)


@dataclass(frozen=True)
class Run:
    """Recognition results of one trained model.

    Attributes:
      name: distinguishes it from the others; often its file.
      refs: utterance -> reference.
      hyps: utterance -> hypothesis.
      speakers: utterance -> speaker, where it is known.
      file: that it was read from, for messages.
    """

    name: str
    refs: Texts
    hyps: Texts
    speakers: Speakers = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True)
class Compared:
    """A system beside the first one. Rates are in per cent.

    Attributes:
      name: names of its runs.
      scores: of its runs, one per training seed.
      cer: mean over the seeds.
      ci_low, ci_high: 95 % interval of it.
      difference: CER minus that of the first system: negative where this one is better.
      low, high: 95 % interval of the difference, paired.
      improvement: bootstrap probability of fewer errors than the first system: the share of
        resamplings with fewer errors plus half of those with as many.
      p: two-sided bootstrap p-value of no difference.
      corrected_p: by Holm's method for all comparisons of the call.
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
    corrected_p: float

    @property
    def sub(self) -> float:
        """Substitutions, mean over the seeds."""
        return float(np.mean([s.sub for s in self.scores]))

    @property
    def homophone_sub(self) -> float:
        """Substitutions by a homophone, mean over the seeds."""
        return float(np.mean([s.homophone_sub for s in self.scores]))


@dataclass(frozen=True)
class Comparison:
    """Systems compared with the first of them.

    Attributes:
      systems: in the order given; the first has a difference of 0 from itself.
      unit: resampled, ``utterance`` or ``speaker``.
    """

    systems: Sequence[Compared]
    unit: str

    @property
    def conditions(self) -> str:
        """What the intervals resample, and what they are conditional on."""
        first = self.systems[0].scores[0]
        seeds = [len(system.scores) for system in self.systems]
        return conditions(self.unit, first.num_utterances, first.num_speakers, seeds)


def compare(
    systems: Sequence[Sequence[Run]],
    unit: str = "utterance",
    replications: int = 10000,
    seed: int = 0,
) -> Comparison:
    """Compare systems with the first one.

    All are scored on the same draws of utterances or speakers, which removes what makes an
    utterance or a speaker difficult for all of them. Seeds are drawn independently per system.

    Args:
      systems: two or more; of each the runs of one configuration, which differ in the training
        seed. All runs have the same utterances, references and speakers.
      unit: resampled: ``utterance``, or ``speaker`` with all utterances of the speaker.
      replications: number of resamplings.
      seed: of the draws.
    Raises:
      GmotError: fewer than two systems, fewer than one replication, runs that differ in
        utterances, references or speakers, or the unit ``speaker`` without speakers.
    """
    if len(systems) < 2:
        raise GmotError(f"compare: {len(systems)} systems, expected two or more.")
    if replications < 1:
        raise GmotError(f"compare: {replications} replications, expected 1 or more.")
    runs = [run for system in systems for run in system]
    for run in runs:
        if unit == "speaker":
            require_speakers(list(run.refs), run.speakers, run.file or run.name, SPEAKERS_REMEDY)
        _check_same(runs[0], run)
    scores = [[score(r.refs, r.hyps, speakers=r.speakers) for r in system] for system in systems]
    first = scores[0][0]
    owners = [runs[0].speakers[name] for name in first.alignments] if unit == "speaker" else None
    counts = [s.utterance_counts for its in scores for s in its]
    columns = [counts[0][:, 3], *(c[:, :3].sum(axis=1) for c in counts)]
    sums = resample(np.stack(columns, axis=1), replications, seed, owners)
    lengths = np.maximum(1, sums[:, 0])
    errors = np.split(sums[:, 1:], np.cumsum([len(its) for its in scores])[:-1], axis=1)
    streams = np.random.SeedSequence(seed).spawn(len(systems))  # independent of the units' draws
    drawn = [resample_seeds(e, np.random.default_rng(s)) for e, s in zip(errors, streams)]
    cers = [sum(s.cer for s in its) / len(its) for its in scores]
    first_made, first_seeds = drawn[0]
    found = []
    for system, its, cer, (made, seeds) in zip(systems, scores, cers, drawn):
        more = made * first_seeds - first_made * seeds  # whole numbers: ties are exact
        ci_low, ci_high = interval(100.0 * made / (seeds * lengths))
        low, high = interval(100.0 * more / (seeds * first_seeds * lengths))
        found.append(
            dict(
                name=" + ".join(run.name for run in system),
                scores=its,
                cer=cer,
                ci_low=ci_low,
                ci_high=ci_high,
                difference=cer - cers[0],
                low=low,
                high=high,
                improvement=float(np.mean(more < 0) + 0.5 * np.mean(more == 0)),
                p=p_value(more),
            )
        )
    corrected = [1.0, *holm([values["p"] for values in found[1:]])]
    return Comparison([Compared(**v, corrected_p=p) for v, p in zip(found, corrected)], unit)


def _check_same(first: Run, other: Run) -> None:
    what = f"'{first.file or first.name}' and '{other.file or other.name}' cannot be compared"
    if first.refs.keys() != other.refs.keys():
        raise GmotError(
            f"{what}: they are of different utterances; only in the first: "
            f"{sorted(first.refs.keys() - other.refs.keys())[:3]}, only in the second: "
            f"{sorted(other.refs.keys() - first.refs.keys())[:3]}. Give runs on the same part, and "
            "decode all of them with the same manifests."
        )
    differ = [name for name in sorted(first.refs) if first.refs[name] != other.refs[name]]
    if differ:
        raise GmotError(
            f"{what}: {len(differ)} references differ; of '{differ[0]}': "
            f"'{first.refs[differ[0]]}' and '{other.refs[differ[0]]}'. Decode both with the "
            "same texts."
        )
    if first.speakers and other.speakers and first.speakers != other.speakers:
        name = next(n for n in sorted(first.refs) if _speaker(first, n) != _speaker(other, n))
        raise GmotError(
            f"{what}: the speakers of utterance '{name}' differ: '{_speaker(first, name)}' and "
            f"'{_speaker(other, name)}'. Decode both with the same manifests."
        )


def _speaker(run: Run, utterance: str) -> str:
    return run.speakers.get(utterance) or ""


def read_systems(paths: Sequence[Sequence[PathLike]]) -> List[List[Run]]:
    """Runs out of recogs files, named by what distinguishes their paths.

    Args:
      paths: of each system the files of its training seeds.
    Raises:
      GmotError: a file is missing, is of another kind or is given twice for one system.
    """
    for files in paths:
        distinct = {Path(path).resolve() for path in files}
        if len(distinct) < len(files):
            raise GmotError(
                f"{files[0]} ...: {len(files)} files of one system, but {len(distinct)} distinct "
                "ones. Give each training seed once."
            )
    names = iter(_names([path for files in paths for path in files]))
    return [
        [Run(next(names), *read_recogs(path), file=str(path)) for path in files] for files in paths
    ]


def _names(paths: Sequence[PathLike]) -> List[str]:
    """Paths without the folders and the file name that all share."""
    parts = [Path(path).parts for path in paths]
    if len(set(parts)) == 1:
        return [str(path) for path in paths]
    start = end = 0
    while len({p[: start + 1] for p in parts}) == 1:
        start += 1
    while len({p[start:][-end - 1 :] for p in parts}) == 1:
        end += 1
    return ["/".join(p[start : len(p) - end]) or str(Path(*p)) for p in parts]


def find_recogs(
    exp_dirs: Sequence[PathLike],
    part: str,
    method: str,
    epoch: Optional[int] = None,
    avg: Optional[int] = None,
) -> List[Path]:
    """The recogs files of one system.

    Args:
      exp_dirs: its folders, one per training seed, with a ``results.json``.
      part: that was decoded.
      method: of decoding.
      epoch, avg: which results; None: those of this part and method that were
        decoded last.
    Raises:
      GmotError: a folder has no such results, or two have the same training seed or
        different systems.
    """
    from gmot.results import choose  # knows the methods, which takes torch

    paths = []
    seeds: Dict[int, Path] = {}
    system = None
    for exp_dir in map(Path, exp_dirs):
        record = choose(exp_dir / "results.json", epoch, avg, part, method)[-1]
        paths.append(recogs_path(exp_dir, method, part, record["epoch"], record["avg"]))
        used = record.get("seed")
        if used is not None and used in seeds:
            raise GmotError(
                f"{seeds[used]} and {exp_dir} were both trained with seed {used}: they are no two "
                "seeds of one system. Give runs of different seeds (train.py --seed)."
            )
        seeds[used] = exp_dir
        if len(paths) > 1 and record.get("system") != system:
            raise GmotError(
                f"{exp_dirs[0]} and {exp_dir} are different systems and cannot be pooled: "
                f"{_differences(system, record.get('system'))}. Separate them by --against."
            )
        system = record.get("system")
    return paths


def _differences(first: Any, other: Any) -> str:
    """The settings in which two systems differ."""
    if not isinstance(first, dict) or not isinstance(other, dict):
        return f"{first} and {other}"
    keys = sorted(k for k in first.keys() | other.keys() if first.get(k) != other.get(k))
    return ", ".join(f"{key} {first.get(key)} and {other.get(key)}" for key in keys)
