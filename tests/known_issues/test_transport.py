"""Public reports on transport and on cosines, as small inputs of our own.

B13 is in test_sinkhorn_range.py.
"""

import numpy as np
import pytest
import torch

from benchmarks.rows import load_row
from gmot.ot import CosineEdges, DenseEdges, TemporalEdges, fused_gromov_wasserstein
from gmot.ot.edges import edge_term
from gmot.transfer.losses import token_distances, transport_loss
from gmot.transfer.sequence_graphs import unit, unit_distance


def one_entry(rows):
    matrix = torch.rand(rows, rows)
    matrix = matrix + matrix.t()
    matrix[rows // 2 + 1, rows // 2 - 1] += 0.5
    return matrix


def odd_rows(rows):
    matrix = torch.ones(rows, rows)
    matrix[1::2, 1::4] += 0.1
    return matrix


@pytest.mark.parametrize("wrap", [lambda matrix: matrix, DenseEdges])
@pytest.mark.parametrize("make", [one_entry, odd_rows])
@pytest.mark.parametrize("rows", [16, 101])
def test_asymmetry_between_any_two_rows_is_refused(rows, make, wrap):
    """B15: POT#406, POT PR#399. Kind: bad input accepted (a check of samples).

    Edges with one asymmetric entry, or asymmetric in odd rows only; as a matrix and as DenseEdges,
    in either graph, in any item of a batch.
    """
    torch.manual_seed(0)
    good = torch.rand(2, rows, rows)
    good = good + good.transpose(1, 2)
    bad = good.clone()
    bad[1] = make(rows)
    cost = torch.rand(2, rows, rows)
    with pytest.raises(ValueError, match="edges_a.*item 1.*symmetric"):
        fused_gromov_wasserstein(cost, wrap(bad), wrap(good))
    with pytest.raises(ValueError, match="edges_b.*item 1.*symmetric"):
        fused_gromov_wasserstein(cost, wrap(good), wrap(bad))


def test_asymmetry_of_padding_and_of_rounding_is_accepted():
    """B15, the other way round: what has no effect, and what no user can avoid."""
    torch.manual_seed(0)
    x = torch.randn(1, 40, 8)
    matrix = torch.cdist(x, x) * (1 + 1e-5 * torch.rand(1, 40, 40))
    matrix[:, 30:] = 7.0
    cost = torch.rand(1, 40, 3)
    result = fused_gromov_wasserstein(cost, matrix, torch.zeros(1, 3, 3), lengths_a=[30])
    assert torch.isfinite(result.value)


def test_edge_term_of_identical_graphs_is_not_negative():
    """B16: POT#406, geomloss#24. Kind: rounding leaves the range of a quantity."""
    edges = TemporalEdges(torch.tensor([50]), 50)
    cost = 3 * (1 - torch.eye(50))[None]
    edge = fused_gromov_wasserstein(cost, edges, edges, edge_weight=0.01, epsilon=0.02).edge
    assert edge >= 0 and torch.isfinite(edge.sqrt())


def permuted(kind, size=40):
    """Edges in float32 and the same as parameters: graphs at distance zero of themselves."""
    torch.manual_seed(1)
    if kind == "temporal":
        return TemporalEdges(torch.tensor([size]), size, 0.3)
    if kind == "cosine":
        return CosineEdges(unit(torch.randn(1, size, 64)))
    if kind == "cosine, factored":
        return CosineEdges(unit(torch.randn(1, size, 8)))
    if kind == "cosine, alike":
        return CosineEdges(unit(torch.ones(1, size, 8) + 1e-4 * torch.randn(1, size, 8)))
    x = torch.randn(1, size, 5)
    return DenseEdges(torch.cdist(x, x))


@pytest.mark.parametrize(
    "kind", ["temporal", "cosine", "cosine, factored", "cosine, alike", "dense"]
)
def test_sums_of_squares_are_not_negative(kind):
    """B16, its siblings: energies and edge terms of all edges, float32, plans of many shapes.

    The gradient of the square root (a Gromov-Wasserstein distance) is finite.
    """
    edges = permuted(kind)
    size = edges.shape[1]
    if edges.parameter is not None:
        edges.parameter.requires_grad_()
    cost = torch.rand(1, size, size)
    sharp = torch.zeros(1, size)
    sharp[0, size // 3] = 1
    identity = torch.eye(size)[None] / size
    plans = [identity, identity * (1 + 1e-3 * cost), cost / cost.sum()]
    plans.append(sharp.unsqueeze(2) * sharp.unsqueeze(1))
    plans.append(torch.softmax(-5 * cost.flatten() + 20 * identity.flatten(), 0).view_as(cost))
    for plan in plans:
        for weights in (plan.sum(1), plan.sum(2)):
            assert (edges.square_product(weights) >= 0).all() and edges.energy(weights) >= 0
        term = edge_term(edges, edges, plan)
        assert term >= 0
        if edges.parameter is not None:
            edges.parameter.grad = None
            term.sqrt().sum().backward()
            assert torch.isfinite(edges.parameter.grad).all()


@pytest.mark.parametrize("width", [0.01, 0.3, 30.0])
def test_energy_of_temporal_edges_in_float32(width):
    """B16: no digit is lost where marginals are concentrated, or where all distances are small."""
    torch.manual_seed(2)
    lengths = torch.tensor([300])
    single = TemporalEdges(lengths, 300, width)
    double = TemporalEdges(lengths, 300, width, dtype=torch.float64)
    weights = torch.rand(1, 300) * (torch.arange(300) // 5 == 57)
    for w in (weights, torch.rand(1, 300)):
        matrix = double.dense()[0]
        exact = w[0].double() @ matrix.clamp_min(0).square() @ w[0].double()
        assert single.energy(w).item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-30)


SCALES = [1e-42, 1e-30, 1e-20, 1e-14, 1.0, 1e20, 1e37]


@pytest.mark.parametrize("scale", SCALES)
def test_cosines_of_tiny_and_huge_vectors(scale):
    """B17: keras#23075, pytorch#50473. Kind: an intermediate square under- or overflows.

    The value does not depend on the scale; the gradient is finite, and right where it can be
    represented.
    """
    torch.manual_seed(3)
    x, y = torch.randn(1, 4, 16), torch.randn(1, 3, 16)
    weight = torch.randn(1, 4, 3)
    tiny = (x * scale).requires_grad_()
    found = unit_distance(unit(tiny), unit(y * scale))
    # Subnormal numbers have few digits.
    exact = (tiny.detach().double() / scale).requires_grad_()
    expected = unit_distance(unit(exact), unit((y * scale).double() / scale))
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.isfinite(tiny.grad).all()
    if scale >= 1e-30:
        torch.testing.assert_close(tiny.grad.double() * scale, exact.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", SCALES)
def test_token_distances_of_tiny_and_huge_vectors(scale):
    """B17: the alignment loss, whose vectors P^T H are as small as the plan's mass."""
    torch.manual_seed(4)
    moved, z = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    expected = token_distances(moved, z, torch.tensor([5, 4]))[0]
    small = (moved * scale).requires_grad_()
    found = token_distances(small, z, torch.tensor([5, 4]))[0]
    torch.testing.assert_close(found, expected, atol=1e-5 if scale > 1e-40 else 1e-2, rtol=0)
    found.sum().backward()
    assert torch.isfinite(small.grad).all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("system", ["cma_ot", "uot", "gm_ot"])
def test_transfer_losses_do_not_depend_on_the_scale_of_features(system, scale):
    """B17: a whole loss, with zero vectors among the frames."""
    torch.manual_seed(5)
    h, z = torch.randn(2, 9, 16), torch.randn(2, 4, 16)
    h[0, 3] = 0
    expected = transport_loss(h, z, [9, 7], [4, 3], load_row(system))
    leaf = (h * scale).requires_grad_()
    found = transport_loss(leaf, z * scale, [9, 7], [4, 3], load_row(system))
    tolerance = 1e-4 if scale > 1e-40 else 3e-2
    torch.testing.assert_close(found.transport, expected.transport, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.alignment, expected.alignment, atol=tolerance, rtol=0)
    (found.transport + found.alignment).sum().backward()
    assert torch.isfinite(leaf.grad).all()


def test_infinite_features_are_refused():
    """B17: huge is accepted, infinite is not."""
    h = torch.randn(2, 4, 8)
    h[1, 2, 3] = np.inf
    with pytest.raises(ValueError, match="h.*item 1"):
        transport_loss(h, torch.randn(2, 3, 8), [4, 4], [3, 3], load_row("gm_ot"))
