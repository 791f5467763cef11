"""Sequences as graphs: node costs, edges, positional costs, node weights.

Node i of a graph is the i-th vector of a sequence. All functions take a batch with the lengths of
its items and work on padding too; what they put there is without meaning.
"""

from typing import Optional

import torch
from torch import Tensor

from gmot.ot.problem import no_autocast, uniform_weights

__all__ = [
    "EDGES",
    "POSITIONAL",
    "blend",
    "cosine_distance",
    "make_edges",
    "positional_cost",
    "temporal_edges",
    "uniform_weights",
]

EDGES = ("cosine", "temporal", "blend")
POSITIONAL = ("gm_ot", "tot")
KERNELS = ("exponential", "window")


def inverse_norms(x: Tensor) -> Tensor:
    """(N, T): 1 / |x_i|, and 0 for a zero vector, with gradient zero there."""
    squares = x.square().sum(2)
    zero = squares == 0
    return squares.masked_fill(zero, 1).rsqrt().masked_fill(zero, 0)


class _Gram(torch.autograd.Function):
    """X X^T. Its gradient (G + G^T) X is one product; autograd would make two."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.bmm(x, x.transpose(1, 2))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.bmm(gradient + gradient.transpose(1, 2), x)


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
    with no_autocast(x.device):
        products = _Gram.apply(x) if y is None else torch.bmm(x, y.transpose(1, 2))
        norms_x = inverse_norms(x)
        norms_y = norms_x if y is None else inverse_norms(y)
        return 1 - products * norms_x.unsqueeze(2) * norms_y.unsqueeze(1)


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


def temporal_edges(
    lengths: Tensor,
    size: int,
    kernel: str = "exponential",
    width: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Edges from adjacency in time, as the distance 1 - adjacency in [0, 1].

    With t = |i - j| / length, adjacency is exp(-t / width) ("exponential"), or 1 where t <= width
    and 0 elsewhere ("window"). Gromov-Wasserstein costs the same with 1 - C as with C; the
    distance has the direction of the cosine edges, so the two can be blended.

    Args:
      lengths: (N,).
      size: T of the padded batch.
      kernel: one of ``KERNELS``.
      width: relative to the length of the sequence.
      dtype: of the result.
    Returns:
      (N, T, T), symmetric.
    Raises:
      ValueError: an unknown kernel, or a width that is not positive.
    """
    if not width > 0:
        raise ValueError(f"width: expected a number above 0, found {width}.")
    steps = torch.arange(size, device=lengths.device)
    # Whole steps are counted before dividing: |i - j| and |j - i| round alike.
    gaps = (steps.unsqueeze(0) - steps.unsqueeze(1)).abs().to(dtype)
    limits = width * lengths.to(dtype)[:, None, None]
    if kernel == "exponential":
        return 1 - (-gaps / limits).exp()
    if kernel == "window":
        # A window of a whole number of steps contains its ends in spite of rounding.
        return (gaps > limits + 1e-4).to(dtype)
    raise ValueError(f"kernel: expected one of {', '.join(KERNELS)}; found {kernel!r}.")


def blend(edges: Tensor, others: Tensor, weight: float) -> Tensor:
    """``(1 - weight) * edges + weight * others``; weight in [0, 1], else ValueError."""
    if not 0 <= weight <= 1:
        raise ValueError(f"weight: expected a number from 0 to 1, found {weight}.")
    return (1 - weight) * edges + weight * others


def make_edges(name: str, features: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
    """The edges of a graph, by name.

    Args:
      name: "cosine" (the paper's), "temporal" (exponential adjacency of
        width 0.1), "blend" (half of each).
      features: (N, T, D).
      lengths: (N,); needed by all but "cosine".
    Returns:
      (N, T, T), symmetric, in the type of ``features``.
    Raises:
      ValueError: an unknown name.
    """
    if name == "cosine":
        return cosine_distance(features)
    if name not in EDGES:
        raise ValueError(f"edges: expected one of {', '.join(EDGES)}; found {name!r}.")
    if lengths is None:
        raise ValueError(f"lengths: needed for {name} edges.")
    temporal = temporal_edges(lengths, features.size(1), dtype=features.dtype)
    if name == "temporal":
        return temporal
    return blend(cosine_distance(features), temporal, 0.5)
