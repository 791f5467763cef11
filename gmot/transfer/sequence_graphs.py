"""Sequences as graphs: node costs, edges, positional costs.

Node i of a graph is the i-th vector of a sequence. Values on padding are undefined.
"""

import torch
from torch import Tensor

from gmot.ot.edges import CosineEdges, Edges, TemporalEdges
from gmot.ot.problem import no_autocast

EDGES = ("cosine", "temporal")
POSITIONAL = ("gm_ot", "tot")


def unit(x: Tensor) -> Tensor:
    """Unit vectors of (N, T, D), without overflow for tiny and huge ones.

    Zero vectors stay zero. They get no gradient, nor do vectors whose largest entry is below 2e-35
    in float32 (4e-278 in float64), where the derivative 1 / |x| would overflow.
    """
    largest = x.detach().abs().amax(2, keepdim=True)
    x = torch.where(largest < torch.finfo(x.dtype).max ** -0.9, x.detach(), x)
    zero = largest == 0
    # The result does not depend on this factor, so it may be constant for the gradient.
    x = x / largest.masked_fill(zero, 1)
    inverse = x.square().sum(2, keepdim=True).masked_fill(zero, 1).rsqrt()
    return x * inverse.masked_fill(zero, 0)


def cosine_distance(x: Tensor, y: Tensor | None = None) -> Tensor:
    """1 - cos of all pairs: node costs between two graphs, edges within one.

    GM-OT (arXiv 2505.13079), Eq. 6 and 10. The cosine with a zero vector is 0, without gradient.

    Args:
      x: (N, T, D).
      y: (N, L, D); None: x itself.
    Returns:
      (N, T, L), in [0, 2] up to rounding, without autocast.
    """
    x = unit(x)
    return unit_distance(x, x if y is None else unit(y))


def unit_distance(x: Tensor, y: Tensor) -> Tensor:
    """:func:`cosine_distance` of unit vectors."""
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
    """Node cost that favours couplings near the diagonal.

    "gm_ot": strength * |i/l_a - j/l_t|^2 (arXiv 2505.13079, section 2.2.4, strength = rho).
    "tot":   strength * d_ij^2, d_ij = |i/l_a - j/l_t| / sqrt(1/l_a^2 + 1/l_t^2)
    (arXiv 2409.02239, Eq. 13 and 19, strength = beta): about l_t^2 times stronger for l_a >> l_t.
    Positions start at 1 and include the special tokens.

    Args:
      name: one of ``POSITIONAL``.
      lengths_a, lengths_b: (N,).
      size_a, size_b: T and L, padded.
    Returns:
      (N, T, L).
    Raises:
      ValueError: unknown name.
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


def make_edges(name: str, units: Tensor, lengths: Tensor) -> Edges:
    """Edges of a graph by name.

    Args:
      name: "cosine" (GM-OT Eq. 10) or "temporal" (exponential adjacency of width 0.1).
      units: (N, T, D) unit vectors.
      lengths: (N,).
    Raises:
      ValueError: unknown name.
    """
    if name == "cosine":
        return CosineEdges(units)
    if name == "temporal":
        return TemporalEdges(lengths, units.size(1), dtype=units.dtype)
    raise ValueError(f"edges: expected one of {', '.join(EDGES)}; found {name!r}.")
