"""Edge costs of graphs: dense, cosine and temporal, each with its products and gradients.

The solvers need of edge costs C (T x T, symmetric) the product with a plan, the product of C o C
with a vector, and the gradients of both. Gradients are closed forms of the plan alone
(:func:`edge_term`), so no step of a solver is recorded.

Edge costs are C = S or C = 1 - S. Terms of one index change Sinkhorn's potentials and not the plan,
so the solvers multiply with ``sign`` * S. Memory and multiply-adds of a product with L columns:
dense T^2 and T^2 L; factored T D and 2 T D L; temporal T and about T L log T.
"""

from math import comb
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from gmot.ot.precision import no_autocast


class Edges:
    """Edge costs of a batch of graphs; base class. Factors of products are zero on padding.

    Attributes:
      values: tensor that defines the edges, of their type and device.
      parameter: tensor that receives gradients, or None.
    """

    sign = -1.0  # 1 if C = S, -1 if C = 1 - S

    def __init__(self, values: Tensor, parameter: Tensor | None):
        self.values, self.parameter = values, parameter

    @property
    def shape(self) -> tuple[int, int]:
        """(N, T)."""
        return self.values.size(0), self.values.size(1)

    @property
    def matrix(self) -> Tensor | None:
        """S (N, T, T) if products use it, else None."""
        return None

    def masked(self, mask: Tensor) -> "Edges":
        """The same edges, zero where ``mask`` (N, T) is false."""
        raise NotImplementedError

    def prepared(self) -> "Edges":
        """The same edges for one solve, with what all its steps share computed once."""
        return self

    def multiply(self, plan: Tensor) -> Tensor:
        """Product (N, K, T) of ``plan`` (N, K, T) and S."""
        raise NotImplementedError

    def product(self, plan: Tensor) -> Tensor:
        """Product (N, K, T) of ``plan`` (N, K, T) and C."""
        product = self.multiply(plan)
        return product if self.sign > 0 else plan.sum(2, keepdim=True) - product

    def square_product(self, weights: Tensor) -> Tensor:
        """Product (N, T) of ``weights`` (N, T) and C o C, never negative."""
        raise NotImplementedError

    def energy(self, weights: Tensor) -> Tensor:
        """(N,) sum C_ij^2 w_i w_j, never negative."""
        return (self.square_product(weights) * weights).sum(1)

    def pullback(self, weights: Tensor | None, left: Tensor, right: Tensor) -> Any:
        """Gradient of energy(weights) + <left C, right> with respect to ``parameter``.

        ``weights``: (N, T), None: without the energy; ``left``, ``right``: (N, K, T).
        """
        return None

    def similarity(self) -> Tensor:
        """S, (N, T, T)."""
        if self.matrix is not None:
            return self.matrix
        count, size = self.shape
        eye = torch.eye(size, dtype=self.values.dtype, device=self.values.device)
        return self.multiply(eye.expand(count, size, size))

    def dense(self) -> Tensor:
        """C, (N, T, T)."""
        return self.similarity() if self.sign > 0 else 1 - self.similarity()


class DenseEdges(Edges):
    """Edge costs given as a matrix (N, T, T)."""

    sign = 1.0

    def __init__(self, matrix: Tensor):
        super().__init__(matrix, matrix)

    @property
    def matrix(self) -> Tensor:
        return self.values

    def masked(self, mask: Tensor) -> "DenseEdges":
        return DenseEdges(self.values.masked_fill(~(mask.unsqueeze(2) & mask.unsqueeze(1)), 0))

    def multiply(self, plan: Tensor) -> Tensor:
        return torch.bmm(plan, self.values)

    def square_product(self, weights: Tensor) -> Tensor:
        return _vector_product(weights, self.values.square())

    def pullback(self, weights: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
        return _matrix_gradient(self.values, weights, left, right)


class CosineEdges(Edges):
    """Cosine distances 1 - cos(x_i, x_j) within a graph (GM-OT, arXiv 2505.13079, Eq. 10).

    The cosines are computed once per solve where T <= 2 D. Longer sequences are multiplied through
    their factors, without any T x T matrix. ``units``: (N, T, D) unit vectors, or zero vectors,
    whose cosine with all others is 0.

    Raises:
      ValueError: wrong shape or type.
    """

    def __init__(self, units: Tensor):
        if units.dim() != 3 or not units.is_floating_point():
            raise ValueError(
                "CosineEdges: expected floating point vectors of shape (N, T, D), found "
                f"{units.dtype} of shape {tuple(units.shape)}."
            )
        super().__init__(units, units)
        self._cosines: Tensor | None = None

    @property
    def is_factored(self) -> bool:
        return self.values.size(1) > 2 * self.values.size(2)

    @property
    def matrix(self) -> Tensor | None:
        return None if self.is_factored else self.cosines()

    def cosines(self) -> Tensor:
        """(N, T, T) cosines: differentiable where gradients are recorded, else computed once."""
        recorded = torch.is_grad_enabled() and self.values.requires_grad
        if self._cosines is not None and (self._cosines.requires_grad or not recorded):
            return self._cosines
        cosines = torch.bmm(self.values, self.values.transpose(1, 2))
        if not recorded:
            self._cosines = cosines
        return cosines

    def masked(self, mask: Tensor) -> "CosineEdges":
        return CosineEdges(self.values.masked_fill(~mask.unsqueeze(2), 0))

    def prepared(self) -> "CosineEdges":
        edges = CosineEdges(self.values)
        edges._cosines = self.matrix
        return edges

    def multiply(self, plan: Tensor) -> Tensor:
        if self.is_factored:
            return torch.bmm(torch.bmm(plan, self.values), self.values.transpose(1, 2))
        return torch.bmm(plan, self.cosines())

    def square_product(self, weights: Tensor) -> Tensor:
        if not self.is_factored:
            return _vector_product(weights, (1 - self.cosines()).square())
        # (1 - s)^2 = 1 - 2 s + s^2 cancels where all vectors are alike.
        units = self.values
        mean = torch.bmm(weights.unsqueeze(1), units).transpose(1, 2)
        squares = (torch.bmm(units, self._moment(weights)) * units).sum(2)
        product = weights.sum(1, keepdim=True) - 2 * torch.bmm(units, mean).squeeze(2) + squares
        return product.clamp_min(0)

    def _moment(self, weights: Tensor) -> Tensor:
        """(N, D, D) sum_i w_i x_i x_i^T."""
        return torch.bmm(self.values.transpose(1, 2), self.values * weights.unsqueeze(2))

    def pullback(self, weights: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
        units = self.values.detach()
        if not self.is_factored:
            gradient = _matrix_gradient(1 - self.cosines(), weights, left, right)
            return -2 * torch.bmm(gradient, units)
        gradient = torch.bmm(left.transpose(1, 2), torch.bmm(right, units))
        gradient = -gradient - torch.bmm(right.transpose(1, 2), torch.bmm(left, units))
        if weights is not None:
            mean = torch.bmm(weights.unsqueeze(1), units)
            spread = torch.bmm(units, self._moment(weights))
            gradient = gradient + 4 * weights.unsqueeze(2) * (spread - mean)
        return gradient


class TemporalEdges(Edges):
    """Distances in time, 1 - exp(-|i - j| / (width * length)), without any T x T matrix.

    Distances, as cosine edges; Gromov-Wasserstein costs are the same for the adjacencies 1 - C.

    Args:
      lengths: (N,) sequence lengths.
      size: T of the padded batch.
      width: relative to the length of the sequence.
    Raises:
      ValueError: ``width`` is not a finite positive number.
    """

    def __init__(
        self, lengths: Tensor, size: int, width: float = 0.1, dtype: torch.dtype = torch.float32
    ):
        if not 0 < width < float("inf"):
            raise ValueError(f"width: expected a finite number above 0, found {width}.")
        super().__init__(width * lengths.to(dtype), None)
        self.size = size

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.values), self.size

    def masked(self, mask: Tensor) -> "TemporalEdges":
        return self  # plans and marginals are zero there

    def multiply(self, plan: Tensor) -> Tensor:
        # Recurrences y_i = x_i + r y_(i-1) from both ends, by doubling: after k rounds y_i holds
        # the last 2^k terms. The term i itself is in both.
        steps = self.values.to(plan.dtype)
        size, rate = plan.size(2), (-1 / steps)[:, None, None]
        forward, backward, reach = plan, plan, 1
        while reach < size:
            weight = (rate * reach).exp()
            forward = forward + weight * pad(forward[..., :-reach], (reach, 0))
            backward = backward + weight * pad(backward[..., reach:], (0, reach))
            reach *= 2
        return forward + backward - plan

    def square_product(self, weights: Tensor) -> Tensor:
        steps = self.values.to(weights.dtype)
        both = torch.cat((weights, weights.flip(1)))  # from the left and from the right
        left, right = _square_sums(both, torch.cat((steps, steps))).chunk(2)
        return left + right.flip(1)


def _square_sums(weights: Tensor, steps: Tensor) -> Tensor:
    """(N, T) sum over j < i of (1 - exp(-(i - j) / steps))^2 w_j; nothing cancels.

    Moments sum_j y^k w_j of y = 1 - exp(-d / steps): a shift by n positions turns y into
    gain + decay y, so sums over 2n positions follow from those over n.
    """
    size = weights.size(1)
    moments = [weights, torch.zeros_like(weights), torch.zeros_like(weights)]
    reach = 1
    while reach < size:
        ratio = (reach / steps).unsqueeze(1)
        gain, decay = -torch.expm1(-ratio), torch.exp(-ratio)
        shifted = [pad(moment[:, :-reach], (reach, 0)) for moment in moments]
        moments = [
            moment + sum(comb(k, i) * gain ** (k - i) * decay**i * shifted[i] for i in range(k + 1))
            for k, moment in enumerate(moments)
        ]
        reach *= 2
    return moments[-1]


def _vector_product(weights: Tensor, matrix: Tensor) -> Tensor:
    """(N, T) times (N, T, T): (N, T)."""
    return torch.bmm(weights.unsqueeze(1), matrix).squeeze(1)


def _matrix_gradient(matrix: Tensor, weights: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """Symmetric gradient of sum C_ij^2 w_i w_j + <left C, right> with respect to C."""
    cross = torch.bmm(left.transpose(1, 2), right)
    cross = (cross + cross.transpose(1, 2)) / 2
    if weights is None:
        return cross
    return cross + 2 * matrix * weights.unsqueeze(1) * weights.unsqueeze(2)


class _EdgeTerm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _, _, edges_a, edges_b, plan = inputs  # behind the parameters, for autograd
        upright = plan.transpose(1, 2)
        cross = (edges_b.product(plan) * edges_a.product(upright).transpose(1, 2)).sum((1, 2))
        term = edges_a.energy(plan.sum(2)) + edges_b.energy(plan.sum(1)) - 2 * cross
        term = term.clamp_min(0)  # a sum of squares, up to rounding
        ctx.save_for_backward(plan, term)
        ctx.edges = edges_a, edges_b
        return term

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        with no_autocast(gradient.device):
            return _EdgeTerm._backward(ctx, gradient)

    @staticmethod
    def _backward(ctx: Any, gradient: Tensor) -> Any:
        plan, term = ctx.saved_tensors
        edges_a, edges_b = ctx.edges
        # Zero at the minimum, whatever the incoming gradient (that of a square root is infinite).
        gradient = gradient.masked_fill(term == 0, 0)
        upright, gradient = plan.transpose(1, 2), gradient[:, None, None]
        gradients: list[Tensor | None] = [None, None]
        if ctx.needs_input_grad[0]:
            other = edges_b.product(plan).transpose(1, 2)
            gradients[0] = gradient * edges_a.pullback(plan.sum(2), -2 * upright, other)
        if ctx.needs_input_grad[1]:
            other = edges_a.product(upright).transpose(1, 2)
            gradients[1] = gradient * edges_b.pullback(plan.sum(1), -2 * plan, other)
        return (*gradients, None, None, None)


def edge_term(edges_a: Edges, edges_b: Edges, plan: Tensor) -> Tensor:
    """(N,) sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl of a plan P (N, T, L).

    Never negative; where it is zero, so is its gradient. With a fixed plan and its marginals
    r, c, dC1 = 2 (C1 o r r^T - P C2 P^T), dC2 alike; for cosine edges dX = -2 dC1 X.
    """
    return _EdgeTerm.apply(edges_a.parameter, edges_b.parameter, edges_a, edges_b, plan)
