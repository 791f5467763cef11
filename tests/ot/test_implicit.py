"""The implicit gradient of a converged plan, against finite differences of whole solves."""

import pytest
import torch

from gmot.ot import CosineEdges, TemporalEdges, fused_gromov_wasserstein, sinkhorn

CONVERGED = {"tolerance": 1e-12, "backend": "torch"}


def features(rows=9, columns=4, width=6):
    torch.manual_seed(0)
    x = torch.randn(2, rows, width, dtype=torch.float64)
    y = torch.randn(2, columns, width, dtype=torch.float64)
    return x, y, torch.randn(2, rows, columns, dtype=torch.float64)


def slope(function, x, direction, step=1e-5):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def check(function, x):
    """``function`` of a tensor, a number: its gradient along random directions."""
    leaf = x.clone().requires_grad_()
    function(leaf).backward()
    torch.manual_seed(1)
    for _ in range(3):
        direction = torch.randn_like(x)
        with torch.no_grad():
            expected = slope(function, x, direction)
        found = (leaf.grad * direction).sum()
        assert abs(found - expected) <= 1e-4 * abs(expected) + 1e-9


@pytest.mark.parametrize("epsilon", [0.3, 0.05])
def test_oracle_sinkhorn(epsilon):
    x, y, loss = features()

    def function(cost):
        result = sinkhorn(
            cost,
            epsilon=epsilon,
            lengths_a=[9, 7],
            lengths_b=[4, 3],
            max_iterations=100000,
            plan_gradient="implicit",
            **CONVERGED,
        )
        return (result.plan * loss).sum()

    check(function, torch.cdist(x, y))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_oracle_fused_gromov_from_features(alpha):
    """Through node costs and both graphs' edges at once."""
    x, y, loss = features()

    def function(both):
        u, v = (torch.nn.functional.normalize(part, dim=2) for part in both.split([9, 4], dim=1))
        result = fused_gromov_wasserstein(
            1 - u @ v.transpose(1, 2),
            CosineEdges(u),
            CosineEdges(v),
            edge_weight=alpha,
            epsilon=0.2,
            max_outer=3000,
            max_inner=50,
            plan_gradient="implicit",
            **CONVERGED,
        )
        return (result.plan * loss).sum()

    check(function, torch.cat((x, y), dim=1))


def test_oracle_dense_and_temporal_edges():
    x, y, loss = features()
    cost = torch.cdist(x, y) / 4

    def function(matrix):
        result = fused_gromov_wasserstein(
            cost,
            TemporalEdges(torch.tensor([9, 9]), 9, 1.0, dtype=torch.float64),
            matrix + matrix.transpose(1, 2),
            edge_weight=0.5,
            epsilon=0.2,
            max_outer=3000,
            max_inner=50,
            plan_gradient="implicit",
            **CONVERGED,
        )
        return (result.plan * loss).sum()

    check(function, torch.rand(2, 4, 4, dtype=torch.float64))


def test_it_agrees_with_unrolling():
    x, y, loss = features()
    gradients = []
    for plan_gradient in ("implicit", "unroll"):
        leaf = torch.cdist(x, y).requires_grad_()
        result = fused_gromov_wasserstein(
            leaf / 4,
            torch.cdist(x, x) / 4,
            torch.cdist(y, y) / 4,
            edge_weight=0.5,
            epsilon=0.1,
            max_outer=300,
            plan_gradient=plan_gradient,
            **CONVERGED,
        )
        (result.plan * loss).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


def test_one_factorisation_per_backward(monkeypatch):
    """The adjoint iterations solve with the factor, and factor nothing again."""
    calls = {"cholesky_ex": 0, "solve_triangular": 0, "solve": 0}

    def counted(name, function):
        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return call

    for name in calls:
        monkeypatch.setattr(torch.linalg, name, counted(name, getattr(torch.linalg, name)))
    x, y, loss = features()
    leaf = torch.cdist(x, y).requires_grad_()
    result = fused_gromov_wasserstein(
        leaf, torch.cdist(x, x), torch.cdist(y, y), epsilon=2.0, plan_gradient="implicit"
    )
    (result.plan * loss).sum().backward()
    assert calls["cholesky_ex"] == 1 and calls["solve"] == 0 and calls["solve_triangular"] > 4


def test_float32_and_small_epsilon_stay_finite():
    x, y, loss = features()
    leaf = torch.cdist(x, y).float().requires_grad_()
    result = sinkhorn(leaf, epsilon=0.002, plan_gradient="implicit", backend="torch")
    (result.plan * loss.float()).sum().backward()
    assert torch.isfinite(leaf.grad).all()
