"""gmot.ot.sinkhorn against POT, a plain log-domain loop, and finite differences."""

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot.ot import sinkhorn

SIZES = [(7, 4), (5, 6), (1, 3), (4, 1), (1, 1)]


def batch(seed=0, fill=0.0):
    rng = np.random.default_rng(seed)
    problems = [gromov.random_problem(rng, *size) for size in SIZES]
    cost, _, _, a, b = ([p[k] for p in problems] for k in range(5))
    lengths = [list(x) for x in zip(*SIZES)]
    padded = [gromov.pad(x, fill) for x in (cost, a, b)]
    options = {"lengths_a": lengths[0], "lengths_b": lengths[1]}
    return problems, padded, options


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.01])
def test_oracle_log_domain_loop(epsilon):
    problems, padded, options = batch()
    result = sinkhorn(*padded, epsilon=epsilon, tolerance=1e-13, max_iterations=20000, **options)
    for i, (cost, _, _, a, b) in enumerate(problems):
        expected = gromov.sinkhorn(cost, a, b, epsilon)
        found = result.plan[i].numpy()
        np.testing.assert_allclose(found[: len(a), : len(b)], expected, atol=1e-11)
        assert found.sum() == pytest.approx(1)
        assert not found[len(a) :].any() and not found[:, len(b) :].any()
        node, entropy = (cost * expected).sum(), (expected * np.log(expected)).sum()
        assert result.value[i].item() == pytest.approx(node + epsilon * entropy, abs=1e-10)
        assert result.entropy[i].item() == pytest.approx(entropy, abs=1e-10)
    assert (result.marginal_error < 1e-12).all()
    assert not result.edge.any()


def test_oracle_pot_balanced():
    ot = pytest.importorskip("ot")
    cost, _, _, a, b = gromov.random_problem(np.random.default_rng(1), 9, 5)
    result = sinkhorn(cost, a, b, epsilon=0.05, tolerance=1e-13, max_iterations=5000)
    expected = ot.sinkhorn(a, b, cost, 0.05, stopThr=1e-14, numItermax=5000)
    np.testing.assert_allclose(result.plan.numpy(), expected, atol=1e-12)
    assert result.value.shape == ()


@pytest.mark.parametrize("reach", [(0.5, 1.0), (1.0, None), (None, 0.2), (0.05, 0.05)])
def test_oracle_pot_unbalanced(reach):
    ot = pytest.importorskip("ot")
    problems, padded, options = batch(seed=2)
    result = sinkhorn(
        *padded,
        epsilon=0.05,
        reach_a=reach[0],
        reach_b=reach[1],
        tolerance=1e-14,
        max_iterations=5000,
        **options,
    )
    strength = tuple(float("inf") if r is None else r for r in reach)
    for i, (cost, _, _, a, b) in enumerate(problems):
        expected = ot.unbalanced.sinkhorn_unbalanced(
            a, b, cost, 0.05, strength, reg_type="entropy", stopThr=1e-15, numItermax=20000
        )
        found = result.plan[i, : len(a), : len(b)].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-10)
    assert (result.marginal_error < 1e-12).all()


@pytest.mark.parametrize("reach", [(None, None), (0.5, 1.0), (None, 0.3)])
def test_oracle_gradient_is_that_of_the_minimum(reach):
    """The value's autograd gradient against differences of converged values (float64)."""
    rng = np.random.default_rng(3)
    cost, _, _, a, b = gromov.random_problem(rng, 6, 4)
    direction = torch.from_numpy(rng.normal(size=cost.shape))

    def value(cost):
        return sinkhorn(
            cost, a, b, epsilon=0.1, reach_a=reach[0], reach_b=reach[1],
            tolerance=1e-14, max_iterations=5000,
        ).value  # fmt: skip

    cost = torch.from_numpy(cost).requires_grad_()
    value(cost).backward()
    step = 1e-5
    with torch.no_grad():
        numeric = (value(cost + step * direction) - value(cost - step * direction)) / (2 * step)
    assert (cost.grad * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-7)


def test_unrolled_plan_has_the_gradient_of_its_iterations():
    rng = np.random.default_rng(4)
    cost, _, _, a, b = gromov.random_problem(rng, 5, 3)
    weight = torch.from_numpy(rng.normal(size=cost.shape))

    def functional(cost):
        plan = sinkhorn(
            cost, a, b, epsilon=0.1, reach_b=0.5, max_iterations=13, tolerance=0,
            plan_gradient="unroll",
        ).plan  # fmt: skip
        return (plan * weight).sum()

    assert torch.autograd.gradcheck(functional, torch.from_numpy(cost).requires_grad_())


def test_padding_has_no_effect_be_it_nan():
    _, clean, options = batch()
    _, dirty, _ = batch(fill=float("nan"))
    first, second = sinkhorn(*clean, **options), sinkhorn(*dirty, **options)
    assert torch.equal(first.plan, second.plan)
    cost = torch.from_numpy(dirty[0]).requires_grad_()
    sinkhorn(cost, *dirty[1:], **options).value.sum().backward()
    assert torch.isfinite(cost.grad).all()


@pytest.mark.parametrize("reach", [None, 0.5])
def test_batch_mates_do_not_matter(reach):
    """float32, default tolerance: items converge at different times."""
    problems, padded, options = batch(seed=6)
    extra = {"epsilon": 0.03, "reach_a": reach, "max_iterations": 2000}
    together = sinkhorn(*(x.astype(np.float32) for x in padded), **options, **extra)
    assert len(set(together.iterations.tolist())) > 1
    for i, (cost, _, _, a, b) in enumerate(problems):
        alone = sinkhorn(*(x.astype(np.float32) for x in (cost, a, b)), **extra)
        plan = together.plan[i, : len(a), : len(b)]
        assert (plan - alone.plan).abs().max() < 1e-6
        assert together.value[i].item() == pytest.approx(alone.value.item(), abs=1e-6)
        assert together.iterations[i] == alone.iterations


def test_zero_marginals_inside_the_length():
    """A node without mass is as if it were not there."""
    cost, _, _, a, b = gromov.random_problem(np.random.default_rng(7), 6, 4)
    a[2] = 0
    a /= a.sum()
    b[0] = 0
    b /= b.sum()
    plan = sinkhorn(cost, a, b, tolerance=1e-13, max_iterations=5000).plan.numpy()
    rows, columns = a > 0, b > 0
    expected = gromov.sinkhorn(cost[rows][:, columns], a[rows], b[columns], 0.05)
    np.testing.assert_allclose(plan[rows][:, columns], expected, atol=1e-12)
    assert plan.sum() == pytest.approx(1)


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_small_epsilon_in_float32(spread):
    """Exponents down to -50000: plans stay finite and tend to the float64 log-domain loop's."""
    rng = np.random.default_rng(8)
    cost = rng.uniform(0, spread, size=(12, 6))
    a, b = np.full(12, 1 / 12), np.full(6, 1 / 6)
    result = sinkhorn(cost.astype(np.float32), epsilon=0.002, max_iterations=3000)
    assert torch.isfinite(result.plan).all() and torch.isfinite(result.value)
    assert result.plan.sum().item() == pytest.approx(1, abs=1e-4)
    if spread == 1.0:
        expected = gromov.sinkhorn(cost, a, b, 0.002)
        assert np.abs(result.plan.numpy() - expected).sum() < 1e-3


def test_marginals_of_extreme_range_stay_finite():
    cost = np.random.default_rng(9).uniform(size=(5, 4)).astype(np.float32)
    a = np.array([1, 1e-30, 1e-20, 1e-10, 1], dtype=np.float32)
    b = np.array([1, 1, 1e-35, 1e-25], dtype=np.float32)
    result = sinkhorn(cost, a, b, epsilon=0.01)
    assert torch.isfinite(result.plan).all()
    assert result.marginal_error < 1e-3


def test_half_precision_and_autocast_are_computed_in_float32():
    cost = torch.rand(2, 6, 4)
    expected = sinkhorn(cost).plan
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sinkhorn(cost).plan, expected)
    assert sinkhorn(cost.bfloat16()).plan.dtype == torch.float32


@pytest.mark.parametrize(
    "change, facts",
    [
        ({"cost": np.zeros((0, 4, 3))}, "cost (0, 4, 3)"),
        ({"cost": np.zeros(4)}, "cost (4,)"),
        ({"cost": np.zeros((2, 4, 3), dtype=int)}, "cost int64"),
        ({"lengths_a": [4, 0]}, "lengths_a item 1"),
        ({"lengths_b": [4, 3]}, "lengths_b item 0"),
        ({"lengths_b": [3, 3, 3]}, "lengths_b (2,) (3,)"),
        ({"lengths_b": [3.0, 3.0]}, "lengths_b float32"),
        ({"cost": np.full((2, 4, 3), np.nan)}, "cost item 0 NaN"),
        ({"marginal_a": np.array([[1, 1, 1, 1], [1, np.inf, 1, 1]])}, "marginal_a item 1 NaN"),
        ({"marginal_a": np.array([[1, 1, 1, 1], [1, -1, 1, 1.0]])}, "marginal_a item 1 negative"),
        ({"marginal_b": np.array([[1, 1, 1], [0, 0, 0.0]])}, "marginal_b item 1 mass"),
        ({"marginal_b": np.array([[0.5, 0.5, 0], [1, 1, 1.0]])}, "marginal_a marginal_b item 1"),
        ({"marginal_b": np.ones((2, 4))}, "marginal_b (2, 3) (2, 4)"),
        ({"marginal_b": np.ones((2, 3), dtype=np.float32)}, "marginal_b float32 float64"),
        ({"epsilon": 0}, "epsilon 0"),
        ({"epsilon": float("nan")}, "epsilon nan"),
        ({"reach_a": 0.0}, "reach_a 0.0"),
        ({"max_iterations": 0}, "max_iterations 0"),
        ({"tolerance": -1}, "tolerance -1"),
        ({"plan_gradient": "unrol"}, "plan_gradient detach unroll implicit 'unrol'"),
        ({"plan_gradient": "implicit", "reach_b": 1.0}, "plan_gradient implicit balanced"),
        ({"backend": "jax"}, "backend auto torch 'jax'"),
    ],
)
def test_bad_input_is_refused(change, facts, refusal):
    with refusal(*facts.split()):
        sinkhorn(**{"cost": np.zeros((2, 4, 3)), **change})


def test_mixed_devices_are_refused(refusal):
    with refusal("marginal_a", "meta", "cpu"):
        sinkhorn(torch.zeros(2, 4, 3), torch.ones(2, 4, device="meta"))
