"""Alignments of frames and tokens: CTC's, and the monotone path through a plan."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gmot.text.tokens import BLANK_ID

NO_TOKEN = -1  # token of a frame that belongs to none


class CtcAlignment(NamedTuple):
    """Attributes:
    posteriors: (T, S), probability that frame t emits token j, given the tokens.
    path: (T,), token of each frame on the most probable path, :data:`NO_TOKEN` for blanks.
    """

    posteriors: np.ndarray
    path: np.ndarray


def align_ctc(log_probs: np.ndarray, labels: Sequence[int]) -> CtcAlignment:
    """Posteriors (forward-backward) and Viterbi path of the CTC lattice of a label sequence.

    A. Graves et al., "Connectionist temporal classification", ICML 2006, section 4.

    Args:
      log_probs: (T, C), log-probabilities of the CTC symbols.
      labels: S token ids.
    Raises:
      ValueError: no labels, or too few frames for them.
    """
    # States: blank, token 0, blank, token 1, ..., blank.
    states = np.full(2 * len(labels) + 1, BLANK_ID)
    states[1::2] = labels
    emissions = np.asarray(log_probs, np.float64)[:, states]
    skips = np.zeros(len(states), bool)  # into a token from the one before, without a blank
    skips[3::2] = states[3::2] != states[1:-2:2]
    needed = len(labels) + int((~skips[3::2]).sum())
    if not len(labels) or len(emissions) < needed:
        raise ValueError(f"{len(emissions)} frames for {len(labels)} tokens, at least {needed}.")
    forward = _sweep(emissions, skips)
    # The lattice from its end: in reverse, a state is left where it was entered.
    backward = _sweep(emissions[::-1, ::-1], np.roll(skips, -2)[::-1])[::-1, ::-1]
    total = np.logaddexp(forward[-1, -1], forward[-1, -2])
    occupied = np.exp(forward + backward - emissions - total)
    return CtcAlignment(occupied[:, 1::2], _best_path(emissions, skips))


def _predecessors(scores: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """(3, 2S + 1): scores of the same state, of the one before, and of the token before."""
    found = np.full((3, len(scores)), -np.inf)
    found[0], found[1, 1:] = scores, scores[:-1]
    found[2, 2:] = np.where(skips[2:], scores[:-2], -np.inf)
    return found


def _first(emissions: np.ndarray) -> np.ndarray:
    scores = np.full(emissions.shape[1], -np.inf)
    scores[:2] = emissions[0, :2]
    return scores


def _sweep(emissions: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """(T, 2S + 1): log-probability of all paths from the start to a state, its own included."""
    found = [_first(emissions)]
    for frame in emissions[1:]:
        found.append(frame + np.logaddexp.reduce(_predecessors(found[-1], skips), axis=0))
    return np.stack(found)


def _best_path(emissions: np.ndarray, skips: np.ndarray) -> np.ndarray:
    scores, back = _first(emissions), []
    for frame in emissions[1:]:
        before = _predecessors(scores, skips)
        back.append(before.argmax(0))
        scores = frame + before.max(0)
    state = len(scores) - 1 - int(scores[-2] > scores[-1])
    path = [state]
    for step in reversed(back):
        path.append(path[-1] - int(step[path[-1]]))
    states = np.array(path[::-1])
    return np.where(states % 2, states // 2, NO_TOKEN)


def divide_blanks(path: np.ndarray) -> np.ndarray:
    """A CTC path whose blanks between two tokens belong half to each, to the earlier if odd."""
    divided, tokens = path.copy(), np.flatnonzero(path != NO_TOKEN)
    for before, after in zip(tokens, tokens[1:]):
        middle = before + 1 + (after - before) // 2
        divided[before + 1 : middle], divided[middle:after] = path[before], path[after]
    return divided


def monotone_path(plan: np.ndarray) -> np.ndarray:
    """Monotone segmentation of the frames that holds the most mass of a plan.

    The path maximises sum_t P[t, s_t] over s_1 <= s_2 <= ..., with steps of at most one row; every
    row has frames, only the first and the last ([CLS] and [SEP]) may have none. Where the rows of a
    frame are read as the probabilities of its token, this is the segmentation of the largest
    expected number of right frames. (The argmax of each frame, in contrast, may go back in time or
    leave out a word; a product of the masses would be decided by the smallest of them.)

    Args:
      plan: (T, L), frames x rows, not negative, L at least 3.
    Returns:
      (T,), rows.
    Raises:
      ValueError: fewer frames than inner rows.
    """
    frames, rows = plan.shape
    if frames < rows - 2:
        raise ValueError(f"{frames} frames for {rows - 2} tokens.")
    scores = np.full(rows, -np.inf)
    scores[:2] = plan[0, :2]
    moved = np.zeros((frames, rows), bool)
    for t in range(1, frames):
        before = np.concatenate([[-np.inf], scores[:-1]])
        moved[t] = before > scores
        scores = np.maximum(scores, before) + plan[t]
    row = rows - 1 - int(scores[-2] >= scores[-1])
    path = [row]
    for t in range(frames - 1, 0, -1):
        row -= int(moved[t, row])
        path.append(row)
    return np.array(path[::-1])
