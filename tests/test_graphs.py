"""gmot.graphs against plain formulas."""

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot import graphs
from gmot.ot import TemporalEdges


def test_oracle_cosine_distance():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 4, 3))
    for i in range(2):
        expected = gromov.cosine_distance(x[i], y[i])
        found = graphs.cosine_distance(torch.from_numpy(x), torch.from_numpy(y))[i]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("within", [True, False])
def test_cosine_gradient(within):
    x, y = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    inputs = [x.requires_grad_()] if within else [x.requires_grad_(), y.requires_grad_()]
    assert torch.autograd.gradcheck(graphs.cosine_distance, inputs)


def test_zero_vectors_are_at_distance_one_and_have_no_gradient():
    x = torch.randn(1, 4, 3)
    x[0, 2] = 0
    x.requires_grad_()
    edges = graphs.cosine_distance(x)
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
    soft = TemporalEdges(lens, 10, "exponential", 0.2).dense()
    assert soft[0, 2, 5].item() == pytest.approx(1 - np.exp(-0.3 / 0.2), abs=1e-6)
    assert soft[1, 0, 1].item() == pytest.approx(1 - np.exp(-0.25 / 0.2), abs=1e-6)
    hard = TemporalEdges(lens, 10, "window", 0.3).dense()
    assert hard[0, 4].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert hard[1, 0, :4].tolist() == [0, 0, 1, 1]
    for edges in (soft, hard):
        assert torch.allclose(edges, edges.transpose(1, 2), atol=1e-6)


def test_blend_and_names():
    x, lens = torch.randn(2, 5, 3), torch.tensor([5, 3])
    cosine, temporal = graphs.make_edges("cosine", x), graphs.make_edges("temporal", x, lens)
    mixed = graphs.make_edges("blend", x, lens)
    assert torch.allclose(mixed.dense(), (cosine.dense() + temporal.dense()) / 2)
    assert torch.equal(graphs.blend(cosine, temporal, 0).dense(), cosine.dense())
    assert torch.allclose(cosine.dense(), graphs.cosine_distance(x))


def test_uniform_weights():
    weights = graphs.uniform_weights(torch.tensor([4, 1]), 5)
    assert weights.tolist() == [[0.25] * 4 + [0], [1, 0, 0, 0, 0]]


def test_unknown_names_are_refused():
    x, lens = torch.randn(1, 2, 3), torch.tensor([2])
    with pytest.raises(ValueError, match="edges: expected one of cosine, temporal, blend"):
        graphs.make_edges("knn", x, lens)
    with pytest.raises(ValueError, match="lengths: needed"):
        graphs.make_edges("temporal", x)
    with pytest.raises(ValueError, match="positional: expected one of gm_ot, tot"):
        graphs.positional_cost("linear", lens, lens, 2, 2, 1.0)
    with pytest.raises(ValueError, match="weight"):
        graphs.blend(graphs.make_edges("cosine", x), graphs.make_edges("cosine", x), 2)
