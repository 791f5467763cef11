"""Sequences as graphs: node costs, edges, positional costs, node weights.

Node i of a graph is the i-th vector of a sequence. All functions take a batch with the lengths of
its items and work on padding too; what they put there is without meaning.
"""

from typing import Optional

import torch
from torch import Tensor

from gmot.ot.edges import CosineEdges, DenseEdges, Edges, TemporalEdges
from gmot.ot.problem import no_autocast, uniform_weights

__all__ = [
    "EDGES",
    "POSITIONAL",
    "blend",
    "cosine_distance",
    "make_edges",
    "positional_cost",
    "uniform_weights",
    "unit",
]

EDGES = ("cosine", "temporal", "blend")
POSITIONAL = ("gm_ot", "tot")


def unit(x: Tensor) -> Tensor:
    """Vectors (N, T, D) divided by their lengths; tiny and huge ones too: no square overflows.

    A zero vector stays zero and gets no gradient. Nor does one whose largest entry is below
    2e-35 in float32 (4e-278 in float64): the derivative, 1 / |x|, would overflow.
    """
    largest = x.detach().abs().amax(2, keepdim=True)
    x = torch.where(largest < torch.finfo(x.dtype).max ** -0.9, x.detach(), x)
    zero = largest == 0
    # A constant factor, though it depends on x: the result does not depend on it.
    x = x / largest.masked_fill(zero, 1)
    inverse = x.square().sum(2, keepdim=True).masked_fill(zero, 1).rsqrt()
    return x * inverse.masked_fill(zero, 0)


def cosine_distance(x: Tensor, y: Optional[Tensor] = None) -> Tensor:
    """1 - cos of all pairs: node costs between two graphs, edges within one.

    GM-OT (arXiv 2505.13079), Eq. 6 and 10. The cosine with a zero vector is 0, its
    distance to everything (itself too) 1, and no gradient flows through it.

    Args:
      x: (N, T, D).
      y: (N, L, D); None: x itself.
    Returns:
      (N, T, L), in [0, 2] up to rounding, in the precision of x and y whatever the autocast.
    """
    x = unit(x)
    return unit_distance(x, x if y is None else unit(y))


def unit_distance(x: Tensor, y: Tensor) -> Tensor:
    """:func:`cosine_distance` of vectors that are unit vectors already."""
    with no_autocast(x.device):
        return 1 - torch.bmm(x, y.transpose(1, 2))


def relative_positions(lengths: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, size): i / length for i = 1, 2, ..."""
    steps = torch.arange(1, size + 1, device=lengths.device, dtype=dtype)
    return steps / lengths.to(dtype).unsqueeze(1)


def positional_cost(
    name: str,
    lengths_a: Tensor,
    lengths_b: Tensor,
    size_a: int,
    size_b: int,
    strength: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The node cost that keeps a coupling near the diagonal.

    "gm_ot": strength * |i/l_a - j/l_t|^2 (arXiv 2505.13079, section 2.2.4, strength = rho).
    "tot":   strength * d_ij^2, d_ij = |i/l_a - j/l_t| / sqrt(1/l_a^2 + 1/l_t^2)
    (arXiv 2409.02239, Eq. 13 and 19, strength = beta): l_t^2 times as strong if l_a >> l_t.
    Positions count from 1 and include the special tokens.

    Args:
      name: one of ``POSITIONAL``.
      lengths_a, lengths_b: (N,).
      size_a, size_b: T, L of the padded batch.
      strength: factor.
      dtype: of the result.
    Returns:
      (N, T, L).
    Raises:
      ValueError: an unknown name.
    """
    distance = relative_positions(lengths_a, size_a, dtype).unsqueeze(2) - relative_positions(
        lengths_b, size_b, dtype
    ).unsqueeze(1)
    if name == "gm_ot":
        return strength * distance.square()
    if name == "tot":
        resolution = lengths_a.to(dtype) ** -2 + lengths_b.to(dtype) ** -2
        return strength * distance.square() / resolution[:, None, None]
    raise ValueError(
        f"positional: expected one of {', '.join(POSITIONAL)} or None; found {name!r}."
    )


def blend(edges: Edges, others: Edges, weight: float) -> DenseEdges:
    """``(1 - weight) * edges + weight * others``; weight in [0, 1], else ValueError."""
    if not 0 <= weight <= 1:
        raise ValueError(f"weight: expected a number from 0 to 1, found {weight}.")
    return DenseEdges((1 - weight) * edges.dense() + weight * others.dense())


def make_edges(name: str, features: Tensor, lengths: Optional[Tensor] = None) -> Edges:
    """The edges of a graph, by name.

    Args:
      name: "cosine" (the paper's), "temporal" (exponential adjacency of
        width 0.1), "blend" (half of each, a dense matrix).
      features: (N, T, D).
      lengths: (N,); needed by all but "cosine".
    Returns:
      Edges of T nodes, in the type of ``features``.
    Raises:
      ValueError: an unknown name.
    """
    return unit_edges(name, features if name == "temporal" else unit(features), lengths)


def unit_edges(name: str, units: Tensor, lengths: Optional[Tensor] = None) -> Edges:
    """:func:`make_edges` of vectors that are unit vectors already."""
    if name not in EDGES:
        raise ValueError(f"edges: expected one of {', '.join(EDGES)}; found {name!r}.")
    if name == "cosine":
        return CosineEdges(units)
    if lengths is None:
        raise ValueError(f"lengths: needed for {name} edges.")
    temporal = TemporalEdges(lengths, units.size(1), dtype=units.dtype)
    if name == "temporal":
        return temporal
    with no_autocast(units.device):
        return blend(CosineEdges(units), temporal, 0.5)
