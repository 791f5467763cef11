"""gmot.transfer.sequence_graphs against plain formulas."""

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot.ot import TemporalEdges
from gmot.transfer import sequence_graphs as graphs


def cosine_distance(x, y=None):
    x = graphs.unit(x)
    return graphs.unit_distance(x, x if y is None else graphs.unit(y))


def test_oracle_cosine_distance():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 4, 3))
    for i in range(2):
        expected = gromov.cosine_distance(x[i], y[i])
        found = cosine_distance(torch.from_numpy(x), torch.from_numpy(y))[i]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("within", [True, False])
def test_cosine_gradient(within):
    x, y = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    inputs = [x.requires_grad_()] if within else [x.requires_grad_(), y.requires_grad_()]
    assert torch.autograd.gradcheck(cosine_distance, inputs)


def test_zero_vectors_are_at_distance_one_and_have_no_gradient():
    x = torch.randn(1, 4, 3)
    x[0, 2] = 0
    x.requires_grad_()
    edges = cosine_distance(x)
    assert torch.equal(edges[0, 2], torch.ones(4))
    edges.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert not x.grad[0, 2].any()


def test_positional_costs():
    lens_a, lens_b = torch.tensor([6, 4]), torch.tensor([3, 2])
    gm_ot = graphs.positional_cost("gm_ot", lens_a, lens_b, 6, 3, 0.3)
    tot = graphs.positional_cost("tot", lens_a, lens_b, 6, 3, 0.5)
    for n, (la, lt) in enumerate([(6, 3), (4, 2)]):
        for i in range(1, la + 1):
            for j in range(1, lt + 1):
                gap = abs(i / la - j / lt)
                assert gm_ot[n, i - 1, j - 1].item() == pytest.approx(0.3 * gap**2, abs=1e-7)
                d = gap / np.sqrt(1 / la**2 + 1 / lt**2)
                assert tot[n, i - 1, j - 1].item() == pytest.approx(0.5 * d**2, abs=1e-6)


def test_temporal_edges():
    lens = torch.tensor([10, 4])
    edges = TemporalEdges(lens, 10, 0.2).dense()
    assert edges[0, 2, 5].item() == pytest.approx(1 - np.exp(-0.3 / 0.2), abs=1e-6)
    assert edges[1, 0, 1].item() == pytest.approx(1 - np.exp(-0.25 / 0.2), abs=1e-6)
    assert torch.allclose(edges, edges.transpose(1, 2), atol=1e-6)
