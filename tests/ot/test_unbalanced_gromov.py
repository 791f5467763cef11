"""Unbalanced fused Gromov-Wasserstein against POT, four-index sums, and finite differences."""

import itertools
import logging

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot.ot import CosineEdges, TemporalEdges, fused_gromov_wasserstein, kernels

SIZES = [(8, 4), (5, 6), (1, 3), (4, 1), (1, 1)]
EXACT = {"tolerance": 1e-10, "max_outer": 3000, "max_inner": 40}


def unequal_problem(seed, rows=8, columns=5, mass=1.0):
    cost, edges_a, edges_b, a, b = gromov.random_problem(np.random.default_rng(seed), rows, columns)
    return cost, edges_a, edges_b, a * mass, b


def pot(problem, alpha, epsilon, reach_a, reach_b):
    """Plan and value of POT, in the mapping that the docstring gives."""
    ot = pytest.importorskip("ot")
    cost, edges_a, edges_b, a, b = problem
    strength = tuple(np.inf if r is None else r / (2 * alpha) for r in (reach_a, reach_b))
    plan, other, log = ot.gromov.fused_unbalanced_gromov_wasserstein(
        *(edges_a, edges_b, a, b), M=cost, alpha=(1 - alpha) / alpha, reg_marginals=strength,
        epsilon=epsilon / (2 * alpha), divergence="kl", unbalanced_solver="sinkhorn_log",
        max_iter=2000, tol=1e-9, max_iter_ot=300, tol_ot=1e-10, log=True,
    )  # fmt: skip
    assert np.abs(plan - other).sum() < 1e-8
    constant = epsilon * ((a * np.log(a)).sum() + (b * np.log(b)).sum())
    return plan, alpha * log["fugw_cost"] + constant


@pytest.mark.parametrize(
    "seed, alpha, mass, reaches",
    [
        (0, 0.1, 1.7, (0.5, 1.0)),
        (0, 0.1, 1.0, (0.2, None)),
        (1, 0.5, 1.7, (None, 0.3)),
        (1, 0.5, 1.0, (0.5, 1.0)),
        (2, 0.9, 1.7, (0.2, None)),
        (2, 0.9, 1.0, (3.0, 3.0)),
        (3, 1.0, 1.7, (0.2, 0.1)),
        (3, 1.0, 1.0, (None, 0.3)),
    ],
)
def test_oracle_pot(seed, alpha, mass, reaches):
    problem = unequal_problem(seed, mass=mass)
    plan, value = pot(problem, alpha, 0.1, *reaches)
    result = fused_gromov_wasserstein(
        *problem, edge_weight=alpha, epsilon=0.1, reach_a=reaches[0], reach_b=reaches[1], **EXACT
    )
    np.testing.assert_allclose(result.plan.numpy(), plan, atol=1e-8)
    assert result.value.item() == pytest.approx(value, abs=1e-8)
    assert result.marginal_error <= 1e-10


def product_divergence(x, y):
    """KL(x (x) x || y (x) y), every pair of entries written out."""
    x, y = x.ravel(), y.ravel()
    pairs, references = np.outer(x, x), np.outer(y, y)
    positive = pairs > 0
    entropy = (pairs[positive] * np.log(pairs[positive] / references[positive])).sum()
    return entropy - pairs.sum() + references.sum()


def objective(problem, plan, alpha, epsilon, reach_a, reach_b, entropy=True):
    cost, edges_a, edges_b, a, b = problem
    edge = (gromov.tensor_product(edges_a, edges_b, plan) * plan).sum()
    total = (1 - alpha) * (cost * plan).sum() + alpha * edge
    for reach, x, y in ((reach_a, plan.sum(1), a), (reach_b, plan.sum(0), b)):
        if reach is not None:
            total += reach / 2 * product_divergence(x, y)
    if entropy:
        constant = (a * np.log(a)).sum() + (b * np.log(b)).sum()
        total += epsilon * (product_divergence(plan, np.outer(a, b)) / 2 + constant)
    return total


@pytest.mark.parametrize("method", ["projected_gradient", "proximal"])
@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("reaches", [(0.8, 1.5), (0.5, None)])
def test_oracle_stationary_point(reaches, alpha, method):
    """Of the objective with entropy, or of that without where proximal steps sharpen the plan."""
    problem = unequal_problem(4, 6, 4)
    epsilon = 0.3 if method == "proximal" else 0.1
    result = fused_gromov_wasserstein(
        *problem, edge_weight=alpha, epsilon=epsilon, reach_a=reaches[0], reach_b=reaches[1],
        method=method, **EXACT,
    )  # fmt: skip
    plan = result.plan.numpy()
    expected = objective(problem, plan, alpha, epsilon, *reaches)
    assert result.value.item() == pytest.approx(expected, abs=1e-10)
    # Multiplicative changes of rows whose marginal is relaxed, of the mass, and of pairs of
    # entries of a column (which keep an exact column).
    rng = np.random.default_rng(5)
    exact_columns = reaches[1] is None
    for _ in range(5):
        direction = rng.normal(size=plan.shape) * plan
        if exact_columns:
            direction -= plan * (direction.sum(0) / plan.sum(0))
        values = [
            objective(
                problem, plan + sign * 1e-4 * direction, alpha, epsilon, *reaches,
                entropy=method == "projected_gradient",
            )
            for sign in (1, -1)
        ]  # fmt: skip
        slope = (values[0] - values[1]) / 2e-4
        assert abs(slope) < 1e-7


@pytest.mark.parametrize("alpha, reaches", [(0.5, (0.5, 1.0)), (0.1, (None, 0.3)), (1.0, (1, 1))])
def test_oracle_gradient_is_that_of_the_minimum(alpha, reaches):
    """Node cost, dense edges and the features of cosine edges; padding included."""
    rng = np.random.default_rng(6)
    problems = [unequal_problem(27, 6, 4), unequal_problem(28, 4, 5)]
    cost, _, edges_b, a, b = (gromov.pad([p[k] for p in problems]) for k in range(5))
    features = torch.from_numpy(rng.normal(size=(2, 6, 5)))
    lengths = {"lengths_a": [6, 4], "lengths_b": [4, 5]}

    def value(cost, edges_b, features):
        units = torch.nn.functional.normalize(features, dim=2)
        return fused_gromov_wasserstein(
            cost, CosineEdges(units), edges_b, a, b, edge_weight=alpha, epsilon=0.4,
            reach_a=reaches[0], reach_b=reaches[1], max_outer=1000, max_inner=10,
            tolerance=1e-8, marginal_tolerance=1e-12, **lengths,
        ).value.sum()  # fmt: skip

    leaves = [torch.as_tensor(x).clone().requires_grad_() for x in (cost, edges_b, features)]
    value(*leaves).backward()
    for k, leaf in enumerate(leaves):
        direction = torch.from_numpy(rng.normal(size=tuple(leaf.shape)))
        if k == 1:
            direction = direction + direction.transpose(1, 2)
        ends = []
        for sign in (1, -1):
            moved = [x.detach() for x in leaves]
            moved[k] = moved[k] + sign * 1e-5 * direction
            ends.append(value(*moved).item())
        numeric = (ends[0] - ends[1]) / 2e-5
        assert (leaf.grad * direction).sum().item() == pytest.approx(numeric, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("method", ["projected_gradient", "proximal"])
def test_large_reaches_are_the_balanced_solver(method):
    problem = unequal_problem(9)
    options = {"edge_weight": 0.5, "epsilon": 0.2, "method": method, "max_inner": 3000}
    options.update(tolerance=1e-12, max_outer=10 if method == "proximal" else 500)
    balanced = fused_gromov_wasserstein(*problem, **options)
    distances = []
    for reach in (1e2, 1e4, 1e6):
        found = fused_gromov_wasserstein(*problem, reach_a=reach, reach_b=2 * reach, **options)
        distances.append((found.plan - balanced.plan).abs().sum().item())
    assert distances[2] < 1e-5 and distances[2] < distances[1] / 20 < distances[0] / 400
    for part in ("value", "node", "edge", "entropy"):
        expected = getattr(balanced, part).item()
        assert getattr(found, part).item() == pytest.approx(expected, abs=1e-5)


def test_it_is_continuous_in_the_edge_weight():
    problem = unequal_problem(10)
    plans = [
        fused_gromov_wasserstein(
            *problem, edge_weight=alpha, reach_a=1.0, reach_b=0.7, **EXACT
        ).plan
        for alpha in (0.0, 1e-6, 1e-3)
    ]
    assert (plans[1] - plans[0]).abs().sum() < 1e-4
    assert (plans[2] - plans[0]).abs().sum() < 1e-1


@pytest.mark.parametrize("method", ["projected_gradient", "proximal"])
def test_batch_mates_and_padding_do_not_matter(method):
    """float32, default tolerances; NaN in the padding; items stop at different steps."""
    rng = np.random.default_rng(11)
    problems = [gromov.random_problem(rng, *size) for size in SIZES]
    problems = [tuple(x.astype(np.float32) for x in p) for p in problems]
    padded = [gromov.pad([p[k] for p in problems], np.nan).astype(np.float32) for k in range(5)]
    lengths = {k: list(x) for k, x in zip(("lengths_a", "lengths_b"), zip(*SIZES))}
    options = {"edge_weight": 0.5, "epsilon": 0.1, "reach_a": 0.5, "reach_b": 2.0, "method": method}
    arrays = [torch.from_numpy(x).requires_grad_() for x in padded[:3]]
    together = fused_gromov_wasserstein(*arrays, *padded[3:], **lengths, **options)
    together.value.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in arrays)
    assert len(set(together.iterations.tolist())) > 1
    for i, (rows, columns) in enumerate(SIZES):
        alone = fused_gromov_wasserstein(*problems[i], **options)
        assert (together.plan[i, :rows, :columns] - alone.plan).abs().max() < 1e-6
        assert not together.plan[i, rows:].any() and not together.plan[i, :, columns:].any()
        assert together.iterations[i] == alone.iterations
        assert together.value[i].item() == pytest.approx(alone.value.item(), abs=1e-6)


def test_zero_marginals_inside_the_length():
    problem = gromov.random_problem(np.random.default_rng(12), 7, 5)
    whole, inner, where = gromov.with_empty_positions(problem, [2], [0, 3])
    options = {"edge_weight": 0.6, "epsilon": 0.1, "reach_a": 0.5, "reach_b": 1.0, **EXACT}
    plan = fused_gromov_wasserstein(*whole, **options).plan.numpy()
    np.testing.assert_allclose(
        plan[where], fused_gromov_wasserstein(*inner, **options).plan.numpy(), atol=1e-10
    )
    assert plan.sum() == pytest.approx(plan[where].sum(), abs=1e-15)


def test_structured_edges():
    temporal = TemporalEdges(torch.tensor([9]), 9, 0.5, dtype=torch.float64)
    cost, _, edges_b, a, b = unequal_problem(13, 9, 5)
    options = {"edge_weight": 0.3, "epsilon": 0.4, "reach_a": 0.7, "reach_b": 1.0, **EXACT}
    batch = [torch.from_numpy(x)[None] for x in (cost, edges_b, a, b)]
    found = fused_gromov_wasserstein(batch[0], temporal, *batch[1:], **options)
    dense = fused_gromov_wasserstein(batch[0], temporal.dense(), *batch[1:], **options)
    torch.testing.assert_close(found.plan, dense.plan, atol=1e-9, rtol=0)


def test_unrolled_plan_has_the_gradient_of_its_iterations():
    rng = np.random.default_rng(14)
    cost, _, edges_b, a, b = unequal_problem(15, 4, 3)
    features = rng.normal(size=(5, 6))
    weight = torch.from_numpy(rng.normal(size=cost.shape))

    def functional(cost, features):
        """A row without weight: gradients must not turn into NaN there."""
        units = torch.nn.functional.normalize(features, dim=1)[None]
        plan = fused_gromov_wasserstein(
            torch.nn.functional.pad(cost, (0, 0, 0, 1))[None], CosineEdges(units), edges_b[None],
            np.append(a, 0.0)[None], b[None],
            edge_weight=0.5, epsilon=0.2, reach_a=0.5, reach_b=1.0,
            max_outer=3, max_inner=4, tolerance=0, plan_gradient="unroll",
        ).plan  # fmt: skip
        return (plan[0, :4] * weight).sum()

    inputs = [torch.from_numpy(x).requires_grad_() for x in (cost, features)]
    assert torch.autograd.gradcheck(functional, inputs)


def test_where_costs_outweigh_the_penalties_the_plan_is_empty():
    cost, edges_a, edges_b, a, b = unequal_problem(16)
    cost = torch.from_numpy(cost + 5).requires_grad_()
    result = fused_gromov_wasserstein(cost, edges_a, edges_b, a, b, reach_a=0.1, reach_b=0.1)
    assert not result.plan.any() and result.marginal_error == 0 and result.iterations < 100
    expected = objective(
        (cost.detach().numpy(), edges_a, edges_b, a, b), np.zeros(cost.shape), 0.5, 0.05, 0.1, 0.1
    )
    assert result.value.item() == pytest.approx(expected)
    result.value.backward()
    assert not cost.grad.any()


def test_extreme_scales_in_float32_stay_finite():
    problem = [torch.from_numpy(x).float() for x in unequal_problem(17)]
    grid = itertools.product((1e-3, 1e3), (1e-3, 10.0), (1e-2, 1e2, None), (0.0, 0.5))
    for scale, epsilon, reach, alpha in grid:
        cost = (problem[0] * scale).requires_grad_()
        result = fused_gromov_wasserstein(
            cost, *problem[1:], edge_weight=alpha, epsilon=epsilon, reach_a=reach, reach_b=1.0
        )
        result.value.backward()
        for x in (result.plan, result.value, result.marginal_error, cost.grad):
            assert torch.isfinite(x).all()


def test_marginals_of_extreme_range_stay_finite():
    """Products of marginals underflow in float32; tiny nodes have a tiny share."""
    cost, edges_a, edges_b, _, _ = (x.astype(np.float32) for x in unequal_problem(19, 5, 4))
    a = np.array([1, 1e-30, 1e-20, 1e-10, 1], dtype=np.float32)
    b = np.array([1, 1, 1e-35, 1e-25], dtype=np.float32)
    result = fused_gromov_wasserstein(cost, edges_a, edges_b, a, b, reach_a=1.0, reach_b=1.0)
    assert torch.isfinite(result.plan).all() and torch.isfinite(result.value)
    assert result.plan.sum() > 0.1 and result.plan[1:4].sum() < 1e-3


def test_marginals_of_mass_m_are_the_balanced_solver_at_epsilon_m():
    """The limit of large reaches, as the docstring has it."""
    cost, edges_a, edges_b, a, b = unequal_problem(20)
    options = {"edge_weight": 0.4, "max_inner": 2000, "max_outer": 500, "tolerance": 1e-11}
    balanced = fused_gromov_wasserstein(
        cost, edges_a, edges_b, 3 * a, 3 * b, epsilon=0.3, **options
    )
    found = fused_gromov_wasserstein(
        cost, edges_a, edges_b, 3 * a, 3 * b, epsilon=0.1, reach_a=1e7, reach_b=1e7, **options
    )
    torch.testing.assert_close(found.plan, balanced.plan, atol=1e-5, rtol=0)


def test_other_backends_say_that_torch_solves(caplog):
    kernels._replaced.cache_clear()
    problem = unequal_problem(18)
    with caplog.at_level(logging.INFO, logger="gmot.ot"):
        plans = [
            fused_gromov_wasserstein(*problem, reach_a=1.0, backend=backend).plan
            for backend in ("auto", "torch", "cpu")
        ]
    assert torch.equal(plans[0], plans[1]) and torch.equal(plans[0], plans[2])
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "backend cpu" in caplog.text and "unbalanced" in caplog.text


@pytest.mark.parametrize(
    "change, facts",
    [
        ({"reach_a": 0.0}, "reach_a 0.0"),
        ({"reach_b": float("inf")}, "reach_b inf"),
        ({"reach_a": 1.0, "plan_gradient": "implicit"}, "plan_gradient implicit balanced"),
        ({"reach_a": 1.0, "backend": "triton"}, "backend 'triton'"),
        ({"reach_a": 1.0, "marginal_b": np.zeros(3)}, "marginal_b mass"),
    ],
)
def test_bad_input_is_refused(change, facts, refusal):
    with refusal(*facts.split()):
        fused_gromov_wasserstein(np.zeros((4, 3)), np.zeros((4, 4)), np.zeros((3, 3)), **change)
