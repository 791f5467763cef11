"""Newton's start of Sinkhorn against plans of other methods, where Sinkhorn alone is slow."""

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot.ot import sinkhorn


def chain_problem(rows, columns, seed=0, width=0.1):
    """Costs that leave each row its neighbouring columns: TOT's positional cost."""
    rng = np.random.default_rng(seed)
    i = np.arange(1, rows + 1)[:, None] / rows
    j = np.arange(1, columns + 1)[None, :] / columns
    cost = rng.uniform(0.5, 1.5, size=(rows, columns)) + width * ((i - j) * columns) ** 2
    return cost, np.full(rows, 1 / rows), np.full(columns, 1 / columns)


def solve(problem, backend="torch", dtype=torch.float64, **options):
    tensors = (torch.from_numpy(x).to(dtype) for x in problem)
    options = {"epsilon": 0.05, "newton_steps": 60, "max_iterations": 10, **options}
    return sinkhorn(*tensors, backend=backend, **options)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (9, 9), (5, 1), (1, 5)])
@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_oracle_root_of_the_marginals(shape, backend):
    if backend == "cpu":
        pytest.importorskip("numba")
    problem = chain_problem(*shape)
    found = solve(problem, backend, tolerance=1e-11)
    expected = gromov.exact_sinkhorn(*problem, 0.05)
    np.testing.assert_allclose(found.plan.numpy(), expected, atol=1e-9)
    assert found.marginal_error < 1e-10


def test_sinkhorn_alone_is_far_from_there():
    """Else the tests of this file would say nothing."""
    problem = chain_problem(40, 12)
    found = solve(problem, newton_steps=0, max_iterations=100)
    expected = gromov.exact_sinkhorn(*problem, 0.05)
    assert np.abs(found.plan.numpy() - expected).sum() > 0.05
    assert found.marginal_error > 1e-3  # and it says so


@pytest.mark.parametrize("reach", [(10.0, 10.0), (None, 5.0), (5.0, None), (0.3, 20.0)])
def test_oracle_unbalanced(reach):
    problem = chain_problem(20, 7)
    found = solve(problem, reach_a=reach[0], reach_b=reach[1], tolerance=1e-11)
    strength = [1e30 if r is None else r for r in reach]
    expected = gromov.unbalanced_log(*problem, 0.05, *strength, iterations=100000)
    np.testing.assert_allclose(found.plan.numpy(), expected, atol=1e-9)
    assert found.marginal_error < 1e-10


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.005])
def test_float32(epsilon):
    problem = chain_problem(100, 30)
    found = solve(problem, dtype=torch.float32, epsilon=epsilon, tolerance=1e-4)
    expected = solve(problem, epsilon=epsilon, tolerance=1e-11, newton_steps=200)
    assert expected.marginal_error < 1e-10
    assert (found.plan.double() - expected.plan).abs().sum() < 5e-3
    assert found.marginal_error < 1e-4


def test_items_do_not_depend_on_their_batch_or_padding():
    short, long = chain_problem(12, 5, seed=1), chain_problem(40, 12, seed=2)
    cost = torch.from_numpy(gromov.pad([short[0], long[0]], float("nan")))
    options = {"epsilon": 0.05, "newton_steps": 60, "max_iterations": 10, "tolerance": 1e-9}
    both = sinkhorn(cost, lengths_a=[12, 40], lengths_b=[5, 12], **options)
    for n, problem in enumerate((short, long)):
        alone = sinkhorn(torch.from_numpy(problem[0]), **options)
        rows, columns = problem[0].shape
        plan = both.plan[n]
        assert (plan[:rows, :columns] - alone.plan).abs().max() < 1e-12
        assert not plan[rows:].any() and not plan[:, columns:].any()


def test_zero_marginal_and_separate_components():
    """Nodes without mass; two groups of nodes that share nothing (a singular Hessian)."""
    cost = np.full((6, 4), 50.0)
    cost[:3, :2], cost[3:, 2:] = chain_problem(3, 2)[0], chain_problem(3, 2, seed=1)[0]
    a = np.array([0.25, 0.25, 0, 0.25, 0.125, 0.125])
    b = np.array([0.3, 0.2, 0.4, 0.1])
    found = solve((cost, a, b), tolerance=1e-11, epsilon=0.02)
    present = a > 0
    expected = gromov.sinkhorn(cost[present], a[present], b, 0.02)
    np.testing.assert_allclose(found.plan.numpy()[present], expected, atol=1e-9)
    assert not found.plan[~torch.from_numpy(present)].any()


@pytest.mark.parametrize(
    "options",
    [{"newton_steps": -1}, {"newton_steps": 1.5}, {"newton_steps": 5, "plan_gradient": "unroll"}],
)
def test_bad_steps_are_refused(options, refusal):
    with refusal("newton_steps"):
        sinkhorn(torch.rand(3, 2), **options)
