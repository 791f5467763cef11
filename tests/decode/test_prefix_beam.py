import itertools
import math
from collections import defaultdict

import pytest
import torch
from toy import collapse, log_probs

from gmot.decode.ctc_search import ctc_greedy_search, ctc_prefix_beam_search


def most_probable(row):
    """The text with the largest sum over all frame-wise paths; (T, C) -> tokens."""
    totals = defaultdict(float)
    for path in itertools.product(range(row.shape[1]), repeat=row.shape[0]):
        score = sum(float(row[t, token]) for t, token in enumerate(path))
        totals[tuple(collapse(path))] += math.exp(score)
    return list(max(totals, key=totals.get))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_prefix_beam_search_equals_exhaustive_search(scale):
    lens = torch.tensor([5, 1, 4, 5, 3, 2])
    differs = 0
    for seed in range(4):
        x = log_probs(6, 5, tokens=4, seed=seed, scale=scale)
        expected = [most_probable(row[:n]) for row, n in zip(x, lens)]
        # Wide enough to keep every text of five frames.
        assert ctc_prefix_beam_search(x, lens, beam_size=1000) == expected
        differs += expected != ctc_greedy_search(x, lens)
    assert differs  # sums are not what greedy search looks at


def test_a_narrow_beam_finds_what_stands_out():
    x = log_probs(5, 30, tokens=20, scale=8.0)
    lens = torch.tensor([30, 12, 1, 0, 29])
    assert ctc_prefix_beam_search(x, lens, beam_size=4) == ctc_greedy_search(x, lens)


def test_a_repeated_token_needs_a_blank():
    path = torch.tensor([[2, 2, 0, 2, 1, 1]])
    x = (10.0 * torch.nn.functional.one_hot(path, 3)).log_softmax(-1)
    assert ctc_prefix_beam_search(x, torch.tensor([6])) == [[2, 2, 1]]
    assert ctc_prefix_beam_search(x[:, :2], torch.tensor([2])) == [[2]]


def test_each_utterance_is_searched_alone():
    x, lens = log_probs(6, 12), torch.tensor([3, 12, 0, 8, 1, 12])
    alone = [
        ctc_prefix_beam_search(x[i : i + 1, :n], lens[i : i + 1])[0] for i, n in enumerate(lens)
    ]
    assert ctc_prefix_beam_search(x, lens) == alone
