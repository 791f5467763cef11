"""Whether one run is better than another: paired bootstrap over utterances.

M. Bisani and H. Ney, Bootstrap estimates for confidence intervals in ASR performance
evaluation, ICASSP 2004.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np

from gmot.common import GmotError, PathLike, atomic_path
from gmot.result_files import read_recogs, recogs_path
from gmot.scoring import Score, resample, score

Texts = Dict[str, str]


@dataclass(frozen=True)
class Run:
    """What one run recognised.

    Attributes:
      name: tells it from the others.
      refs: utterance -> reference.
      hyps: utterance -> hypothesis.
    """

    name: str
    refs: Texts
    hyps: Texts


@dataclass(frozen=True)
class Comparison:
    """A run beside the first one.

    Attributes:
      name: of the run.
      score: of the run.
      difference: its error rate less the first run's, in per cent of the characters:
        below 0 where it is better.
      low, high: 95 % interval of the difference, by paired bootstrap.
      improvement: probability that it is better than the first: the share of
        resamplings with fewer errors; those with as many count half.
    """

    name: str
    score: Score
    difference: float
    low: float
    high: float
    improvement: float


def compare(runs: Sequence[Run], replications: int = 10000, seed: int = 0) -> List[Comparison]:
    """Compare every run with the first.

    All are measured on the same drawings of utterances, so that what makes an
    utterance hard for all of them cancels out.

    Args:
      runs: two or more, of the same utterances and references.
      replications: resamplings.
      seed: of the resampling.
    Returns:
      One a run, of the first too: its difference from itself is 0.
    Raises:
      GmotError: fewer than two runs, fewer than one replication, or runs of
        different utterances or references.
    """
    if len(runs) < 2:
        raise GmotError(f"compare: {len(runs)} runs, expected two or more.")
    if replications < 1:
        raise GmotError(f"compare: {replications} replications, expected 1 or more.")
    for run in runs[1:]:
        _check_same(runs[0], run)
    scores = [score(run.refs, run.hyps) for run in runs]
    counts = [s.utterance_counts for s in scores]
    columns = [c[:, :3].sum(axis=1) for c in counts]
    sums = resample(np.stack([counts[0][:, 3], *columns], axis=1), replications, seed)
    lengths, errors = np.maximum(1, sums[:, 0]), sums[:, 1:]
    found = []
    for i, (run, its_score) in enumerate(zip(runs, scores)):
        more = errors[:, i] - errors[:, 0]
        low, high = np.percentile(100.0 * more / lengths, [2.5, 97.5])
        found.append(
            Comparison(
                name=run.name,
                score=its_score,
                difference=100.0 * (its_score.errors - scores[0].errors) / scores[0].ref_len,
                low=float(low),
                high=float(high),
                improvement=float(np.mean(more < 0) + 0.5 * np.mean(more == 0)),
            )
        )
    return found


def _check_same(first: Run, other: Run) -> None:
    what = f"'{first.name}' and '{other.name}' cannot be compared"
    if first.refs.keys() != other.refs.keys():
        raise GmotError(
            f"{what}: they are of different utterances; only in the first: "
            f"{sorted(first.refs.keys() - other.refs.keys())[:3]}, only in the second: "
            f"{sorted(other.refs.keys() - first.refs.keys())[:3]}. Give runs on the same part."
        )
    differ = [name for name in sorted(first.refs) if first.refs[name] != other.refs[name]]
    if differ:
        raise GmotError(
            f"{what}: {len(differ)} references differ; of '{differ[0]}': "
            f"'{first.refs[differ[0]]}' and '{other.refs[differ[0]]}'. Decode both with the "
            "same texts."
        )


def read_runs(paths: Sequence[PathLike]) -> List[Run]:
    """Runs out of recogs files; they are called what tells their paths apart.

    Raises:
      GmotError: a file is missing or is of another kind.
    """
    return [Run(name, *read_recogs(path)) for name, path in zip(_names(paths), paths)]


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
    """The recogs files of systems.

    Args:
      exp_dirs: folders of systems, with a ``results.json``.
      part: that was decoded.
      method: it was decoded by.
      epoch, avg: which results; None: those of this part and method that were
        decoded last.
    Raises:
      GmotError: a system has no such results.
    """
    from gmot.results import choose  # knows the methods, which takes torch

    paths = []
    for exp_dir in map(Path, exp_dirs):
        record = choose(exp_dir / "results.json", epoch, avg, part, method)[-1]
        paths.append(recogs_path(exp_dir, method, part, record["epoch"], record["avg"]))
    return paths


def console_lines(comparisons: Sequence[Comparison]) -> List[str]:
    """A line a run, of :func:`compare`."""
    lines = [f"{c.name}: %CER {_with_interval(c.score)}" for c in comparisons]
    return lines[:1] + [
        f"{line}, difference {c.difference:+.2f} ({c.low:+.2f} .. {c.high:+.2f}), "
        f"probability of improvement {c.improvement:.3f}"
        for line, c in zip(lines[1:], comparisons[1:])
    ]


def _with_interval(of: Score) -> str:
    return f"{of.cer:.2f} ({of.ci_low:.2f} .. {of.ci_high:.2f})"


def table(comparisons: Sequence[Comparison]) -> str:
    """Markdown: a row a run."""
    from gmot.results import markdown_table

    rows = [["run", "CER", "substitutions", "of them homophones", "difference", "improvement"]]
    for i, c in enumerate(comparisons):
        its = [c.name, _with_interval(c.score), str(c.score.sub), str(c.score.homophone_sub)]
        beside = [f"{c.difference:+.2f} ({c.low:+.2f} .. {c.high:+.2f})", f"{c.improvement:.3f}"]
        rows.append(its + (beside if i else ["-", "-"]))
    return markdown_table(rows)


def write_table(path: PathLike, comparisons: Sequence[Comparison], how: str) -> None:
    """Write a Markdown file.

    Args:
      path: of it.
      comparisons: of :func:`compare`.
      how: a line that tells how they were made.
    """
    first = comparisons[0]
    with atomic_path(path) as temporary:
        temporary.write_text(
            "# Comparison\n\n"
            f"CER in per cent over {first.score.ref_len} characters of "
            f"{first.score.num_utterances} utterances, with 95 % intervals by bootstrap over "
            f"utterances. Difference: from `{first.name}`, by paired bootstrap, below 0 where "
            "the run is better; improvement: the probability that it is better.\n\n"
            f"{table(comparisons)}\n\n{how}\n",
            encoding="utf-8",
        )
