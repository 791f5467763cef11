"""How the edges of a graph multiply a plan inside the solver, without building what has structure.

Terms of one index in a product change the potentials of Sinkhorn's algorithm and not the plan, so
an operator may leave them out: edges 1 - S multiply like -S.

Memory and multiply-adds of a product with L columns, an item: dense T^2 and T^2 L; factored T D
and 2 T D L; temporal T and a small multiple of T L.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KERNELS = ("exponential", "window", "absolute", "squared")


@dataclass(frozen=True)
class Operator:
    """``sign`` times a symmetric matrix that multiplies plans; kinds below."""

    sign: float

    def product(self, plan: Tensor) -> Tensor:
        """(N, K, T) times the matrix (without ``sign``): (N, K, T)."""
        raise NotImplementedError


@dataclass(frozen=True)
class DenseOperator(Operator):
    """``matrix`` (N, T, T)."""

    matrix: Tensor

    def product(self, plan: Tensor) -> Tensor:
        return torch.bmm(plan, self.matrix)


@dataclass(frozen=True)
class FactoredOperator(Operator):
    """``factor`` (N, T, D): the matrix is factor factor^T."""

    factor: Tensor

    def product(self, plan: Tensor) -> Tensor:
        return torch.bmm(torch.bmm(plan, self.factor), self.factor.transpose(1, 2))


@dataclass(frozen=True)
class TemporalOperator(Operator):
    """A function of d = |i - j|, with ``steps`` (N,) in the unit of d.

    exponential: exp(-d / steps); window: 1 where d <= steps, else 0; absolute: d / steps;
    squared: (d / steps)^2.
    """

    kernel: str
    steps: Tensor

    def product(self, plan: Tensor) -> Tensor:
        return _PRODUCTS[self.kernel](plan, self.steps.to(plan.dtype))

    def fourth_power(self, weights: Tensor) -> Tensor:
        """(N,) sum (d / steps)^4 w_i w_j, from five moments."""
        t = _positions(weights.unsqueeze(1), self.steps.to(weights.dtype)).squeeze(1)
        m0, m1, m2, m3, m4 = ((weights * t**k).sum(1) for k in range(5))
        return 2 * m0 * m4 - 8 * m1 * m3 + 6 * m2.square()


def _exponential(x: Tensor, steps: Tensor) -> Tensor:
    # Recurrences y_i = x_i + r y_(i-1) from both ends, each by doubling: after k rounds y_i holds
    # the last 2^k terms. The term i itself is in both.
    size, rate = x.size(2), (-1 / steps)[:, None, None]
    forward, backward, reach = x, x, 1
    while reach < size:
        weight = (rate * reach).exp()
        forward = forward + weight * torch.nn.functional.pad(forward[..., :-reach], (reach, 0))
        backward = backward + weight * torch.nn.functional.pad(backward[..., reach:], (0, reach))
        reach *= 2
    return forward + backward - x


def _window(x: Tensor, steps: Tensor) -> Tensor:
    # A running sum at the window's last position, minus that before its first.
    size = x.size(2)
    sums = torch.nn.functional.pad(x.cumsum(2), (1, 0))
    half = _whole(steps).unsqueeze(1)
    positions = torch.arange(size, device=x.device)
    last, first = (positions + half + 1).clamp(max=size), (positions - half).clamp(min=0)
    last, first = (index.unsqueeze(1).expand_as(x) for index in (last, first))
    return sums.gather(2, last) - sums.gather(2, first)


def _whole(steps: Tensor) -> Tensor:
    """Steps in a window: a whole number of them counts in spite of rounding."""
    return (steps + 1e-4).floor().long()


def _positions(x: Tensor, steps: Tensor) -> Tensor:
    """(N, 1, T), centred: float32 loses least."""
    size = x.size(2)
    positions = torch.arange(size, device=x.device, dtype=x.dtype) - (size - 1) / 2
    return positions / steps[:, None, None]


def _absolute(x: Tensor, steps: Tensor) -> Tensor:
    # |t - s| = 2 (t [s <= t] - s [s <= t]) - t + s
    t = _positions(x, steps)
    mass, moment = x.cumsum(2), (t * x).cumsum(2)
    return t * (2 * mass - mass[..., -1:]) - 2 * moment + moment[..., -1:]


def _squared(x: Tensor, steps: Tensor) -> Tensor:
    t = _positions(x, steps)
    mass, first, second = (m.sum(2, keepdim=True) for m in (x, t * x, t * t * x))
    return t * t * mass - 2 * t * first + second


_PRODUCTS = {
    "exponential": _exponential,
    "window": _window,
    "absolute": _absolute,
    "squared": _squared,
}
