"""Alignments: CTC's against enumeration, and the monotone path through a plan."""

import itertools

import numpy as np
import pytest

from gmot.analysis.alignments import NO_TOKEN, align_ctc, divide_blanks, monotone_path


def collapse(path):
    return [a for a, b in zip(path, [None, *path]) if a != b and a != 0]


@pytest.mark.parametrize("labels", [[1], [1, 2], [1, 1], [2, 1, 1], [1, 2, 1]])
def test_ctc_posteriors_and_best_path_are_those_of_all_paths(labels):
    generator = np.random.default_rng(len(labels))
    logits = generator.normal(size=(6, 3))
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    posteriors, total, best = np.zeros((6, len(labels))), 0.0, (-np.inf, None)
    for path in itertools.product(range(3), repeat=6):
        if collapse(path) != labels:
            continue
        score = sum(log_probs[t, symbol] for t, symbol in enumerate(path))
        token, tokens, before = -1, [], 0
        for symbol in path:
            token += symbol not in (0, before)
            tokens.append(NO_TOKEN if symbol == 0 else token)
            before = symbol
        for t, number in enumerate(tokens):
            if number != NO_TOKEN:
                posteriors[t, number] += np.exp(score)
        total += np.exp(score)
        best = max(best, (score, tuple(tokens)))
    found = align_ctc(log_probs, labels)
    np.testing.assert_allclose(found.posteriors, posteriors / total, atol=1e-12)
    assert tuple(found.path) == best[1]


@pytest.mark.parametrize("labels, frames", [([1, 1], 2), ([1, 2, 1], 2), ([], 3)])
def test_too_few_frames_for_the_tokens(labels, frames):
    with pytest.raises(ValueError, match=f"{frames} frames"):
        align_ctc(np.zeros((frames, 3)), labels)


def test_blanks_between_tokens_are_divided():
    path = np.array([-1, 0, -1, -1, -1, 1, 1, -1, 2, -1])
    assert divide_blanks(path).tolist() == [-1, 0, 0, 0, 1, 1, 1, 1, 2, -1]


def test_the_monotone_path_holds_the_most_mass():
    generator = np.random.default_rng(3)
    for _ in range(20):
        plan = generator.random((6, 4))
        paths = [
            path
            for path in itertools.product(range(4), repeat=6)
            if {1, 2} <= set(path) and all(a <= b for a, b in zip(path, path[1:]))
        ]
        best = max(paths, key=lambda path: sum(plan[t, row] for t, row in enumerate(path)))
        assert tuple(monotone_path(plan)) == best


def test_first_and_last_row_may_have_no_frame():
    assert monotone_path(np.array([[0, 0.5, 0, 0], [0, 0, 0.5, 0]])).tolist() == [1, 2]
    with pytest.raises(ValueError, match="1 frames"):
        monotone_path(np.ones((1, 4)))
