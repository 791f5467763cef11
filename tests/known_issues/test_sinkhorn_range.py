"""Unbalanced transport and outlying costs: no empty plan, no NaN, an error that falls."""

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot.ot import sinkhorn

BACKENDS = ("torch", "cpu", "geomloss")


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request):
    pytest.importorskip({"cpu": "numba", "geomloss": "geomloss"}.get(request.param, "torch"))
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_costs_and_a_small_reach(backend, dtype):
    """POT#711, POT PR#95 (case B13): underflow of the kernel in unbalanced transport.

    The optimal plan is exp(-240): nothing in float32, and all penalties are paid.
    """
    cost = torch.tensor([[60.0, 61.0], [62.0, 60.5]], dtype=dtype, requires_grad=True)
    result = sinkhorn(cost, epsilon=0.05, reach_a=0.1, reach_b=0.1, backend=backend)
    assert torch.isfinite(result.plan).all() and result.plan.sum() < 1e-20
    assert result.value.item() == pytest.approx(0.05 + 0.1 + 0.1)
    assert result.marginal_error < 1e-5 and result.iterations < 100
    result.value.backward()
    assert torch.isfinite(cost.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_outlying_column(backend, dtype):
    """ott#6 (case B13): one column far above the others loses its part of the kernel."""
    cost = np.random.default_rng(0).uniform(0.1, 0.3, size=(8, 4))
    cost[:, 2] = 9
    a, b = np.full(8, 1 / 8), np.full(4, 1 / 4)
    result = sinkhorn(torch.from_numpy(cost).to(dtype), epsilon=0.02, backend=backend)
    expected = gromov.sinkhorn(cost, a, b, 0.02)
    assert np.abs(result.plan.double().numpy() - expected).sum() < 1e-3
    assert result.marginal_error < 1e-5 and result.iterations < 100


@pytest.mark.parametrize(
    "reach", [(0.05, 1.0), (1.0, 0.05), (0.05, None), (None, 0.05), (0.3, 0.3)]
)
@pytest.mark.parametrize("lowest", [0.0, 5.0, 20.0])
def test_mass_of_unbalanced_transport(backend, reach, lowest):
    """Review A10: the plan was empty where (cost / (reach + epsilon)) passed 62."""
    cost = np.random.default_rng(1).uniform(lowest, lowest + 1, size=(7, 4))
    strength = [1e30 if r is None else r for r in reach]  # a reach that large is a constraint
    expected = gromov.unbalanced_log(cost, np.full(7, 1 / 7), np.full(4, 1 / 4), 0.02, *strength)
    result = sinkhorn(
        cost, epsilon=0.02, reach_a=reach[0], reach_b=reach[1], backend=backend,
        tolerance=1e-12, max_iterations=5000,
    )  # fmt: skip
    assert np.abs(result.plan.numpy() - expected).sum() < 1e-9
    assert result.marginal_error < 1e-11


def test_gradient_through_the_iterations_is_finite(backend):
    """The same costs, unrolled (torch alone can be)."""
    cost = torch.tensor([[60.0, 61.0], [62.0, 60.5]], requires_grad=True)
    result = sinkhorn(
        cost, epsilon=0.05, reach_a=0.1, reach_b=0.1, plan_gradient="unroll", backend=backend
    )
    result.plan.sum().backward()
    assert torch.isfinite(cost.grad).all()
