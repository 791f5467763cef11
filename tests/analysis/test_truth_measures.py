"""Measures of hand-made plans with known word times."""

import numpy as np
import pytest

from gmot.analysis.alignments import NO_TOKEN, CtcAlignment
from gmot.analysis.truth_measures import (
    Measured,
    Truth,
    boundary_errors,
    diagonal_plan,
    mass_shares,
    measure_ctc_truth,
    measure_plan_truth,
    summarize,
    uniform_plan,
)
from gmot.analysis.word_times import Word
from gmot.model.subsampling import frame_centres

# Two words with a pause before, between and after them, of two tokens and one.
WORDS = [Word("ab", 0.20, 0.63), Word("c", 0.90, 1.31)]
TRUTH = Truth(WORDS, np.array([0, 0, 1]), frame_centres(40).numpy(), 0.04)
FRAME = 0.04


def perfect_plan(relaxed):
    """Frames of each token; the pauses have no mass, or belong to [CLS] and [SEP]."""
    inside = TRUTH.inside
    plan = np.zeros((40, 5))
    for word, rows in ((0, (1, 2)), (1, (3,))):
        frames = np.flatnonzero(inside[:, word])
        for part, row in zip(np.array_split(frames, len(rows)), rows):
            plan[part, row] = 1 / len(part)
    if not relaxed:
        plan[:5, 0] = plan[34:, 4] = 0.1
    return plan


@pytest.mark.parametrize("relaxed", [True, False])
def test_a_perfect_plan(relaxed):
    found = measure_plan_truth(perfect_plan(relaxed), TRUTH)
    np.testing.assert_allclose(found.shares, 1)
    assert np.abs(np.concatenate([found.starts, found.ends])).max() < FRAME


def test_the_uniform_plan_has_the_share_of_the_words_duration():
    shares = mass_shares(uniform_plan(40, 5)[:, 1:-1], TRUTH)
    frames = TRUTH.inside.sum(0)
    np.testing.assert_allclose(shares, frames[[0, 0, 1]] / 40)
    np.testing.assert_allclose(shares[[0, 2]], [0.43 / 1.6, 0.41 / 1.6], atol=1 / 40)


def test_a_shift_of_the_plan_is_its_error():
    shifted = np.roll(perfect_plan(relaxed=True), 3, axis=0)
    found, exact = (measure_plan_truth(p, TRUTH) for p in (shifted, perfect_plan(relaxed=True)))
    np.testing.assert_allclose(found.starts - exact.starts, 3 * FRAME)
    np.testing.assert_allclose(found.ends - exact.ends, 3 * FRAME)
    assert found.shares.mean() < 1


def test_the_diagonal_plan_is_a_coupling_of_uniform_marginals():
    plan = diagonal_plan(40, 5)
    np.testing.assert_allclose(plan.sum(0), 1 / 5)
    np.testing.assert_allclose(plan.sum(1), 1 / 40)
    assert (plan[:8, 0] > 0).all() and plan[8:, 0].sum() == 0
    starts = measure_plan_truth(plan, TRUTH).starts + [w.start for w in WORDS]
    np.testing.assert_allclose(starts, TRUTH.centres[[8, 24]] - FRAME / 2)


def test_scale_of_a_tokens_mass_does_not_count():
    plan = np.random.default_rng(0).random((40, 3))
    np.testing.assert_allclose(mass_shares(plan * [1, 5, 0.1], TRUTH), mass_shares(plan, TRUTH))
    assert mass_shares(plan * [1, 1, 0], TRUTH)[2] == 0


def test_a_word_without_a_frames_centre_is_left_out_of_the_share():
    short = Truth([WORDS[0], Word("c", 0.9, 0.905)], *TRUTH[1:])
    found = measure_plan_truth(uniform_plan(40, 5), short)
    assert np.isnan(found.shares).tolist() == [False, False, True]
    assert len(found.starts) == 2
    summary = summarize([found])
    assert (summary["tokens"], summary["tokens_without_frame"]) == (3, 1)
    assert np.isfinite(summary["share"])


def test_ctc_boundaries_with_and_without_blanks():
    path = np.full(40, NO_TOKEN)
    path[6], path[10], path[30] = 0, 1, 2
    posteriors = np.zeros((40, 3))
    posteriors[[6, 10, 30], [0, 1, 2]] = 1
    found = measure_ctc_truth(CtcAlignment(posteriors, path), TRUTH)
    assert found["ctc"].shares.tolist() == [1, 1, 1]
    starts, ends = boundary_errors(path, TRUTH)
    np.testing.assert_allclose(found["ctc"].starts, starts)
    np.testing.assert_allclose(ends, TRUTH.centres[[10, 30]] + FRAME / 2 - [0.63, 1.31])
    np.testing.assert_allclose(found["ctc_divided"].starts[1], TRUTH.centres[21] - 0.02 - 0.9)
    np.testing.assert_allclose(found["ctc_divided"].ends[0], TRUTH.centres[20] + 0.02 - 0.63)


def test_summary_of_utterances():
    first = Measured(np.array([1.0, 0.5]), np.array([0.01]), np.array([-0.06]))
    second = Measured(np.array([0.25]), np.array([0.2]), np.array([-0.03]))
    found = summarize([first, second])
    assert found["share"] == pytest.approx((0.75 + 0.25) / 2)
    assert found["share_95"][0] <= found["share"] <= found["share_95"][1]
    assert found["boundary_median_ms"] == pytest.approx(45)
    assert found["within_50_ms"] == 0.5 and found["within_100_ms"] == 0.75
    assert found["start_bias_ms"] == pytest.approx(105)
    assert found["end_bias_ms"] == pytest.approx(-45)
