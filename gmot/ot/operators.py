"""How the edges of a graph multiply a plan inside the solver, without building what has structure.

Terms of one index in a product change the potentials of Sinkhorn's algorithm and not the plan, so
an operator may leave them out: edges 1 - S multiply like -S.

Memory and multiply-adds of a product with L columns, an item: dense T^2 and T^2 L; factored T D
and 2 T D L; temporal T and a small multiple of T L.
"""

from dataclasses import dataclass
from math import comb

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

    def square_product(self, weights: Tensor) -> Tensor:
        """(N, T) weights times the squares of a distance: (N, T).

        The distance is the operator, or 1 - the operator for the kernels exponential and window.
        All terms are non-negative, so nothing cancels.
        """
        steps = self.steps.to(weights.dtype)
        both = torch.cat((weights, weights.flip(1)))  # from the left and from the right
        sums = _square_sums(self.kernel, both, torch.cat((steps, steps)))
        left, right = sums.chunk(2)
        return left + right.flip(1)


def _square_sums(kernel: str, weights: Tensor, steps: Tensor) -> Tensor:
    """(N, T) sum over j < i of distance(i - j)^2 w_j."""
    size = weights.size(1)
    if kernel == "window":
        sums = torch.nn.functional.pad(weights.cumsum(1), (1, 0))
        positions = torch.arange(size, device=weights.device)
        return sums.gather(1, (positions - _whole(steps).unsqueeze(1)).clamp(min=0))
    # Moments sum_j y^k w_j of y = d / steps, or y = 1 - exp(-d / steps). A shift by n positions
    # turns y into gain + decay y, so sums over 2n positions come of those over n (doubling).
    order = 4 if kernel == "squared" else 2
    moments = [weights] + [torch.zeros_like(weights)] * order
    reach = 1
    while reach < size:
        gain = (reach / steps).unsqueeze(1)
        decay = torch.ones_like(gain)
        if kernel == "exponential":
            gain, decay = -torch.expm1(-gain), torch.exp(-gain)
        shifted = [torch.nn.functional.pad(m[:, :-reach], (reach, 0)) for m in moments]
        moments = [
            moment + sum(comb(k, i) * gain ** (k - i) * decay**i * shifted[i] for i in range(k + 1))
            for k, moment in enumerate(moments)
        ]
        reach *= 2
    return moments[-1]


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
