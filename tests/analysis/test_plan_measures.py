"""Measures of couplings against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from gmot.analysis.plan_measures import measure_plan, rank_correlation


def hard(tokens, size):
    """Each frame wholly tied to one token."""
    plan = torch.zeros(len(tokens), size, dtype=torch.float64)
    plan[torch.arange(len(tokens)), torch.tensor(tokens)] = 1 / len(tokens)
    return plan


def test_oracle_of_a_hard_plan():
    """Six frames, three tokens, segments of 3, 2 and 1, one of five steps backward."""
    found = measure_plan(hard([0, 0, 1, 0, 1, 2], 3))
    shares = (3 / 6, 2 / 6, 1 / 6)
    assert float(found.evenness) == pytest.approx(
        -sum(p * math.log(p) for p in shares) / math.log(3)
    )
    assert float(found.variation) == pytest.approx(math.sqrt(2 / 3) / 2)
    assert float(found.backward) == pytest.approx(1 / 5)
    # |i/6 - j/3|, in sixths: 1-2, 2-2, 3-4, 4-2, 5-4, 6-6
    assert float(found.diagonal) == pytest.approx((1 + 0 + 1 + 2 + 1 + 0) / 6 / 6)
    assert float(found.entropy) == pytest.approx(math.log(6))
    assert float(found.diffuseness) == pytest.approx(math.log(6) / math.log(18))


def test_extremes():
    even = measure_plan(hard([0, 0, 1, 1], 2))
    assert (float(even.evenness), float(even.variation), float(even.backward)) == (1, 0, 0)
    one = measure_plan(hard([1, 1, 1, 1], 2))
    assert (float(one.evenness), float(one.variation)) == (0, 1)
    assert float(measure_plan(hard([2, 1, 0], 3)).backward) == 1
    uniform = measure_plan(torch.full((4, 5), 1 / 20))
    assert float(uniform.entropy) == pytest.approx(math.log(20))
    assert float(uniform.diffuseness) == pytest.approx(1)
    # A single pair: nothing is uneven, backward or concentrated.
    assert [float(x) for x in measure_plan(torch.ones(1, 1))] == [1, 0, 0, 0, 0, 1]


def test_batch_is_its_items_and_padding_has_no_effect():
    rng = np.random.default_rng(0)
    frames, tokens = [7, 4, 1], [5, 2, 3]
    batch = torch.full((3, 7, 5), math.nan, dtype=torch.float64)
    batch[1], batch[2] = 9.0, -3.0
    for n, (t, k) in enumerate(zip(frames, tokens)):
        plan = rng.random((t, k))
        batch[n, :t, :k] = torch.from_numpy(plan / plan.sum())
    found = measure_plan(batch, frames, torch.tensor(tokens))
    for n, (t, k) in enumerate(zip(frames, tokens)):
        alone = measure_plan(batch[n, :t, :k])
        for name in found._fields:
            assert float(getattr(found, name)[n]) == pytest.approx(
                float(getattr(alone, name)), abs=1e-12
            ), name


@pytest.mark.parametrize(
    "plan, lengths, message",
    [
        (torch.ones(3), None, "plan: expected"),
        (torch.ones(2, 2, dtype=torch.int64), None, "plan: expected"),
        (torch.ones(0, 2), None, "plan: expected"),
        (torch.tensor([[0.5, -0.1]]), None, "negative values or NaN"),
        (torch.tensor([[0.5, math.nan]]), None, "negative values or NaN"),
        (torch.ones(2, 2), [2], "only for a batch"),
        (torch.ones(1, 2, 2), [3], "lengths_a: item 0 is longer"),
        (torch.ones(1, 2, 2), [0], "lengths_a: item 0 is empty"),
    ],
)
def test_bad_plans_are_refused_by_name(plan, lengths, message):
    with pytest.raises(ValueError, match=message):
        measure_plan(plan, lengths)


def test_oracle_rank_correlation():
    x = torch.tensor([0.1, 0.2, 0.5, 3.0])
    columns = torch.tensor([[1.0, 9.0, 1.0, 1.0], [2, 4, 1, 3], [30, 3, 1, 2], [31, -1, 1, 4]])
    found = rank_correlation(x, columns)
    # 1 - 6 sum d^2 / (n (n^2 - 1)) with ranks 1 3 2 4: d^2 = 0 1 1 0.
    np.testing.assert_allclose(found.numpy(), [1, -1, 0, 1 - 6 * 2 / 60], atol=1e-12)
    # Equal values share a rank: 1 2.5 2.5 4 against 1 2 3 4 is 4.5 / sqrt(5 * 4.5).
    tied = rank_correlation(x, torch.tensor([0.0, 7.0, 7.0, 8.0]))
    assert float(tied) == pytest.approx(4.5 / math.sqrt(5 * 4.5))
    with pytest.raises(ValueError, match="x and y"):
        rank_correlation(x, x[:3])
    with pytest.raises(ValueError, match="at least 2"):
        rank_correlation(x[:1], x[:1])
