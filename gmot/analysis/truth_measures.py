"""How true a coupling is: its mass and its word boundaries against measured word times."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gmot.analysis.alignments import (
    NO_TOKEN,
    CtcAlignment,
    divide_blanks,
    monotone_path,
)
from gmot.analysis.word_times import Word
from gmot.evaluation.bootstrap import interval, resample

LEAST_MASS = 0.5  # of a frame that belongs to a word, relative to the mean over the frames
REPLICATIONS, SEED = 1000, 1
WITHIN = (50, 100)  # ms


class Truth(NamedTuple):
    """Word times of an utterance of T frames, S tokens and W words.

    Attributes:
      words: W words, with their times.
      owners: (S,), word of each token.
      centres: (T,), of the frames, in seconds.
      width: seconds between two frames.
    """

    words: Sequence[Word]
    owners: np.ndarray
    centres: np.ndarray
    width: float

    @property
    def inside(self) -> np.ndarray:
        """(T, W) bool: frames whose centre lies in [start, end) of a word."""
        starts, ends = np.array([(word.start, word.end) for word in self.words]).T
        centres = self.centres[:, None]
        return (starts <= centres) & (centres < ends)


class Measured(NamedTuple):
    """Measures of one utterance.

    Attributes:
      shares: of each token's mass, the part inside its word's span; NaN for tokens of a word that
        is too short to have a frame's centre in it.
      starts, ends: (W,), predicted minus true times in seconds; empty without a prediction.
    """

    shares: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def mass_shares(plan: np.ndarray, truth: Truth) -> np.ndarray:
    """(S,) shares as in :class:`Measured`; 0 for a token without mass.

    ``plan``: (T, S), frames x tokens.
    """
    inside = truth.inside
    mass = plan.sum(0)
    right = (plan * inside[:, truth.owners]).sum(0)
    shares = np.divide(right, mass, out=np.zeros_like(mass), where=mass > 0)
    return np.where(inside.any(0)[truth.owners], shares, np.nan)


def boundary_errors(path: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the words' starts and ends, (W,) each, in seconds.

    A word begins half a frame shift before the centre of its first frame and ends half a frame
    shift after that of its last.

    ``path``: (T,), token of each frame, :data:`NO_TOKEN` for none.
    """
    owners = np.where(path == NO_TOKEN, NO_TOKEN, truth.owners[path])
    errors = []
    for number, word in enumerate(truth.words):
        centres = truth.centres[owners == number]
        first, last = centres[0] - truth.width / 2, centres[-1] + truth.width / 2
        errors.append((first - word.start, last - word.end))
    starts, ends = np.array(errors).T
    return starts, ends


def measure_plan_truth(plan: np.ndarray, truth: Truth) -> Measured:
    """Measures of a plan (T, S + 2), frames x rows of the teacher, first and last row special.

    Boundaries are those of :func:`monotone_path`, without the frames at a word's ends that have
    less than half of the mean mass of a frame: what a plan with relaxed marginals leaves out
    belongs to no word. (In a plan with exact marginals all frames have the same mass.)
    """
    path = monotone_path(plan)
    tokens = np.where((path == 0) | (path == plan.shape[1] - 1), NO_TOKEN, path - 1)
    light = plan.sum(1) < LEAST_MASS * plan.sum(1).mean()
    kept = np.where(light, NO_TOKEN, tokens)
    for token in set(tokens.tolist()) - set(kept.tolist()):
        kept[tokens == token] = token  # all of its frames are light
    return Measured(mass_shares(plan[:, 1:-1], truth), *boundary_errors(kept, truth))


def measure_ctc_truth(alignment: CtcAlignment, truth: Truth) -> dict[str, Measured]:
    """Measures of a CTC alignment.

    The share is that of the posteriors. Boundaries are those of the most probable path: ``ctc``,
    first to last frame of a word's tokens, which CTC trains to be few; ``ctc_divided``, with the
    blanks between two tokens divided among them.
    """
    shares = mass_shares(alignment.posteriors, truth)
    paths = {"ctc": alignment.path, "ctc_divided": divide_blanks(alignment.path)}
    return {name: Measured(shares, *boundary_errors(path, truth)) for name, path in paths.items()}


def uniform_plan(frames: int, rows: int) -> np.ndarray:
    """(frames, rows): independent coupling of uniform marginals."""
    return np.full((frames, rows), 1 / (frames * rows))


def diagonal_plan(frames: int, rows: int) -> np.ndarray:
    """(frames, rows): monotone coupling of uniform marginals."""
    a, b = np.arange(frames + 1)[:, None] / frames, np.arange(rows + 1) / rows
    return np.clip(np.minimum(a[1:], b[1:]) - np.maximum(a[:-1], b[:-1]), 0, None)


def summarize(measured: Sequence[Measured]) -> dict[str, Any]:
    """Measures over utterances.

    Returns:
      ``share``: mean over utterances of the mean over their tokens, with its 95% interval over
      resampled utterances (``share_95``); ``tokens``, and ``tokens_without_frame`` that the share
      leaves out; of starts and ends together (where they are predicted) ``boundary_median_ms``,
      the median absolute error, and ``within_50_ms``, ``within_100_ms``, shares of smaller errors;
      ``start_bias_ms``, ``end_bias_ms``, medians of the signed errors (positive: too late).
    """
    shares = np.concatenate([m.shares for m in measured])
    means = np.array([np.nanmean(m.shares) for m in measured if np.isfinite(m.shares).any()])
    found: dict[str, Any] = {"tokens": len(shares)}
    found["tokens_without_frame"] = int(np.isnan(shares).sum())
    if len(means):
        found["share"] = float(means.mean())
        sums = resample(means[:, None], REPLICATIONS, SEED)[:, 0]
        found["share_95"] = list(interval(sums / len(means)))
    starts = 1000 * np.concatenate([m.starts for m in measured])
    ends = 1000 * np.concatenate([m.ends for m in measured])
    if len(starts):
        errors = np.abs(np.concatenate([starts, ends]))
        found["boundary_median_ms"] = float(np.median(errors))
        found.update({f"within_{n}_ms": float((errors <= n).mean()) for n in WITHIN})
        found["start_bias_ms"] = float(np.median(starts))
        found["end_bias_ms"] = float(np.median(ends))
    return found
