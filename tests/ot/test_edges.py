"""Structured edges against the matrices they stand for."""

import pytest
import torch

from gmot.ot import CosineEdges, DenseEdges, TemporalEdges, fused_gromov_wasserstein
from gmot.ot.edges import edge_term


def temporal_matrix(length, size, width):
    """One pair at a time."""
    pairs = [[abs(i - j) / (width * length) for j in range(size)] for i in range(size)]
    return 1 - (-torch.tensor(pairs, dtype=torch.float64)).exp()


def weights(*lengths, size):
    w = torch.zeros(len(lengths), size, dtype=torch.float64)
    for row, n in zip(w, lengths):
        row[:n] = torch.rand(n, dtype=torch.float64) + 0.1
    return w


@pytest.mark.parametrize("width", [0.03, 0.1, 0.25, 1.0, 3.0])
def test_temporal_edges_are_their_matrix(width):
    torch.manual_seed(0)
    lengths, size = torch.tensor([40, 23]), 40
    edges = TemporalEdges(lengths, size, width, dtype=torch.float64)
    matrix = torch.stack([temporal_matrix(int(n), size, width) for n in lengths])
    torch.testing.assert_close(edges.dense(), matrix)
    plan = torch.rand(2, 3, size, dtype=torch.float64)
    torch.testing.assert_close(edges.product(plan), plan @ matrix)
    w = weights(40, 23, size=size)
    torch.testing.assert_close(edges.energy(w), torch.einsum("nij,ni,nj->n", matrix.square(), w, w))


def test_temporal_products_in_float32():
    """2,000 frames, a minute and a half of speech: no digit is lost to running sums."""
    lengths, plan = torch.tensor([2000]), torch.rand(1, 2, 2000)
    single = TemporalEdges(lengths, 2000, 0.05)
    double = TemporalEdges(lengths, 2000, 0.05, dtype=torch.float64)
    expected = double.product(plan.double())
    torch.testing.assert_close(single.product(plan).double(), expected, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("size", [5, 9, 30])
def test_cosine_edges_are_their_matrix(size):
    """Of width 4, so that both the dense and the factored product are seen."""
    torch.manual_seed(1)
    x = torch.nn.functional.normalize(torch.randn(2, size, 4, dtype=torch.float64), dim=2)
    x[0, 2] = 0
    edges, matrix = CosineEdges(x), 1 - x @ x.transpose(1, 2)
    assert edges.is_factored == (size > 8)
    plan = torch.rand(2, 3, size, dtype=torch.float64)
    torch.testing.assert_close(edges.product(plan), plan @ matrix)
    torch.testing.assert_close(edges.dense(), matrix)
    w = weights(size, size - 2, size=size)
    torch.testing.assert_close(edges.energy(w), torch.einsum("nij,ni,nj->n", matrix.square(), w, w))


def plain_edge_term(matrix_a, matrix_b, plan):
    squares = (matrix_a[:, :, :, None, None] - matrix_b[:, None, None]).square()
    return torch.einsum("nijkl,nik,njl->n", squares, plan, plan)


@pytest.mark.parametrize("rows", [6, 20])
def test_oracle_edge_term_and_its_gradient(rows):
    """Against autograd through the sum over four indices."""
    torch.manual_seed(2)
    plan = torch.rand(2, rows, 5, dtype=torch.float64)
    x = torch.nn.functional.normalize(torch.randn(2, rows, 4, dtype=torch.float64), dim=2)
    c = torch.rand(2, 5, 5, dtype=torch.float64)
    c = c + c.transpose(1, 2)
    results = []
    for plain in (True, False):
        units, matrix = x.clone().requires_grad_(), c.clone().requires_grad_()
        if plain:
            value = plain_edge_term(1 - units @ units.transpose(1, 2), matrix, plan)
        else:
            value = edge_term(CosineEdges(units), DenseEdges(matrix), plan)
        (value * torch.tensor([1.0, -2.0])).sum().backward()
        results.append((value.detach(), units.grad, matrix.grad))
    for found, expected in zip(*reversed(results)):
        torch.testing.assert_close(found, expected)


def problem(seed, rows=12, columns=5, width=8):
    torch.manual_seed(seed)
    normalize = torch.nn.functional.normalize
    x = normalize(torch.randn(2, rows, width, dtype=torch.float64), dim=2)
    y = normalize(torch.randn(2, columns, width, dtype=torch.float64), dim=2)
    lengths = torch.tensor([rows, rows - 3]), torch.tensor([columns, columns - 2])
    return x, y, lengths


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("width", [3, 8])
def test_structured_and_dense_edges_give_the_same_plan(width, backend):
    x, y, (rows, columns) = problem(3, width=width)
    temporal = TemporalEdges(rows, 12, 0.2, dtype=torch.float64)
    options = {"lengths_a": rows, "lengths_b": columns, "edge_weight": 0.6, "epsilon": 0.1}
    options.update(max_outer=500, tolerance=1e-11, backend=backend)
    cost = 1 - x @ y.transpose(1, 2)
    for edges_a in (CosineEdges(x), temporal):
        structured = fused_gromov_wasserstein(cost, edges_a, CosineEdges(y), **options)
        dense = fused_gromov_wasserstein(
            cost, edges_a.dense(), 1 - y @ y.transpose(1, 2), **{**options, "backend": "torch"}
        )
        torch.testing.assert_close(structured.plan, dense.plan, atol=1e-9, rtol=0)
        torch.testing.assert_close(structured.value, dense.value)


def test_what_stands_in_the_padding_of_vectors_has_no_effect():
    x, y, (rows, columns) = problem(4)
    cost = 1 - x @ y.transpose(1, 2)
    options = {"lengths_a": rows, "lengths_b": columns, "backend": "torch"}
    clean = fused_gromov_wasserstein(cost, CosineEdges(x), CosineEdges(y), **options)
    x[1, 9:], y[1, 3:] = float("nan"), 7.0
    dirty = fused_gromov_wasserstein(cost, CosineEdges(x), CosineEdges(y), **options)
    assert torch.equal(clean.plan, dirty.plan) and torch.equal(clean.value, dirty.value)


@pytest.mark.parametrize(
    "make, facts",
    [
        (lambda x: CosineEdges(x[0]), "CosineEdges (12, 8)"),
        (lambda x: CosineEdges(x[:, :5]), "edges_a (2, 12) (2, 5)"),
        (lambda x: CosineEdges(x.float()), "edges_a float32 float64"),
        (lambda x: CosineEdges(x / 0), "edges_a item 0 NaN"),
        (lambda x: TemporalEdges(torch.tensor([12, 9]), 12, width=0.0), "width 0.0"),
        (lambda x: TemporalEdges(torch.tensor([12]), 12), "edges_a (2, 12) (1, 12)"),
    ],
)
def test_bad_edges_are_refused(make, facts, refusal):
    x, y, _ = problem(5)
    with refusal(*facts.split()):
        fused_gromov_wasserstein(1 - x @ y.transpose(1, 2), make(x), CosineEdges(y))
