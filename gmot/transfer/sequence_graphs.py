"""Sequences as graphs: node costs and positional costs.

Node i of a graph is the i-th vector of a sequence. Values on padding are undefined.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gmot.ot.precision import no_autocast


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        largest = x.abs().amax(2, keepdim=True)
        scaled = x / largest.masked_fill(largest == 0, 1)
        inverse = scaled.square().sum(2, keepdim=True).rsqrt().masked_fill(largest == 0, 0)
        result = scaled.mul_(inverse)
        # 1 / |x|, or no gradient where it would overflow.
        least = torch.finfo(x.dtype).max ** -0.9
        ctx.save_for_backward(result, (inverse / largest).masked_fill(largest < least, 0))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        result, inverse = ctx.saved_tensors
        along = (gradient * result).sum(2, keepdim=True)
        return torch.addcmul(gradient, result, along, value=-1).mul_(inverse)


def unit(x: Tensor) -> Tensor:
    """Unit vectors of (N, T, D), without overflow for tiny and huge ones.

    Zero vectors stay zero. They get no gradient, nor do vectors whose largest entry is below 2e-35
    in float32 (4e-278 in float64), where the derivative 1 / |x| would overflow.
    """
    return _Unit.apply(x)


def unit_distance(x: Tensor, y: Tensor) -> Tensor:
    """1 - cos of all pairs (GM-OT, arXiv 2505.13079, Eq. 6), in [0, 2] up to rounding.

    Unit vectors (N, T, D) and (N, L, D) -> (N, T, L), without autocast. The cosine with a zero
    vector is 0.
    """
    with no_autocast(x.device):
        return 1 - torch.bmm(x, y.transpose(1, 2))


def relative_positions(lengths: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, size): i / length for i = 1, 2, ..."""
    steps = torch.arange(1, size + 1, device=lengths.device, dtype=dtype)
    return steps / lengths.to(dtype).unsqueeze(1)


def positional_cost(
    name: Literal["gm_ot", "tot"],
    lengths_a: Tensor,
    lengths_b: Tensor,
    size_a: int,
    size_b: int,
    strength: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Node cost (N, T, L) that favours couplings near the diagonal.

    "gm_ot": strength * |i/l_a - j/l_t|^2 (arXiv 2505.13079, section 2.2.4, strength = rho).
    "tot":   strength * d_ij^2, d_ij = |i/l_a - j/l_t| / sqrt(1/l_a^2 + 1/l_t^2)
    (arXiv 2409.02239, Eq. 13 and 19, strength = beta): about l_t^2 times stronger for l_a >> l_t.
    Positions start at 1 and include the special tokens; ``size_a``, ``size_b``: T, L.
    """
    rows = relative_positions(lengths_a, size_a, dtype).unsqueeze(2)
    cost = strength * (rows - relative_positions(lengths_b, size_b, dtype).unsqueeze(1)).square()
    if name == "gm_ot":
        return cost
    resolution = lengths_a.to(dtype) ** -2 + lengths_b.to(dtype) ** -2
    return cost / resolution[:, None, None]
