"""Edges of a graph: matrices, and structured ones that need none.

Gromov-Wasserstein needs of edges C: the product with a plan, the product of C o C with a vector,
and the gradients of both. Gradients are closed forms that need the plan alone
(:func:`edge_term`): no step of the solver is kept.
"""

from typing import Any, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gmot.ot.operators import (
    KERNELS,
    DenseOperator,
    FactoredOperator,
    Operator,
    TemporalOperator,
)


class Edges:
    """The edges of a batch of graphs, symmetric. Weights and plans are zero on padding.

    Attributes:
      parameter: what gradients flow to; None: nothing.
      shape: (N, T).
    """

    parameter: Optional[Tensor] = None

    @property
    def shape(self) -> Tuple[int, int]:
        return tuple(self.parameter.shape[:2])

    @property
    def tensor(self) -> Tensor:
        """What it is made of: the parameter, if there is one."""
        return self.parameter

    def masked(self, mask: Tensor) -> "Edges":
        """The same with zeros where ``mask`` (N, T) is false, whatever stood there."""
        raise NotImplementedError

    def operator(self) -> Operator:
        """What multiplies in the solver; differentiable where gradients are recorded."""
        raise NotImplementedError

    def product(self, plan: Tensor) -> Tensor:
        """(N, K, T) times C, exactly: (N, K, T)."""
        operator = self.operator()
        product = operator.product(plan)
        return product if operator.sign > 0 else plan.sum(2, keepdim=True) - product

    def square_product(self, weights: Tensor) -> Tensor:
        """(N, T) weights times C o C, the squares of the edges: (N, T), never negative."""
        raise NotImplementedError

    def energy(self, weights: Tensor) -> Tensor:
        """(N,) sum C_ij^2 w_i w_j, never negative."""
        return (self.square_product(weights) * weights).sum(1)

    def pullback(self, weights: Optional[Tensor], left: Tensor, right: Tensor) -> Optional[Tensor]:
        """Gradient of energy(weights) + <left C, right> with respect to ``parameter``.

        Args:
          weights: (N, T); None: without the energy.
          left, right: (N, K, T).
        """
        raise NotImplementedError

    def dense(self) -> Tensor:
        """(N, T, T), for looking at and for what cannot multiply otherwise."""
        count, size = self.shape
        eye = torch.eye(size, dtype=self.tensor.dtype, device=self.tensor.device)
        eye = eye.expand(count, size, size)
        return self.product(eye)


class DenseEdges(Edges):
    """A matrix (N, T, T)."""

    def __init__(self, matrix: Tensor):
        self.parameter = matrix

    def masked(self, mask: Tensor) -> "DenseEdges":
        return DenseEdges(self.parameter.masked_fill(~(mask.unsqueeze(2) & mask.unsqueeze(1)), 0))

    def operator(self) -> Operator:
        return DenseOperator(1.0, self.parameter)

    def square_product(self, weights: Tensor) -> Tensor:
        return _vector_product(weights, self.parameter.square())

    def pullback(self, weights: Optional[Tensor], left: Tensor, right: Tensor) -> Tensor:
        return _matrix_gradient(self.parameter, weights, left, right)


class CosineEdges(Edges):
    """1 - cos between the nodes of one graph (GM-OT, arXiv 2505.13079, Eq. 10).

    The T x T products are made once for the solver, without autograd, where T is at most twice
    the width; longer sequences are multiplied through their factors and never build a matrix.

    Args:
      units: (N, T, D) unit vectors (``gmot.graphs.unit``), or zero vectors, whose cosine with
        everything is 0.
    """

    def __init__(self, units: Tensor):
        if units.dim() != 3 or not units.is_floating_point():
            raise ValueError(
                "CosineEdges: expected floating point vectors of shape (N, T, D), found "
                f"{units.dtype} of shape {tuple(units.shape)}."
            )
        self.parameter = units
        self._gram: Optional[Tensor] = None

    def masked(self, mask: Tensor) -> "CosineEdges":
        return CosineEdges(self.parameter.masked_fill(~mask.unsqueeze(2), 0))

    def operator(self) -> Operator:
        if self.is_factored:
            return FactoredOperator(-1.0, self.parameter)
        return DenseOperator(-1.0, self._cosines())

    @property
    def is_factored(self) -> bool:
        _, size, width = self.parameter.shape
        return size > 2 * width

    @property
    def gram(self) -> Tensor:
        """(N, T, T) cosines, detached, made once."""
        if self._gram is None:
            units = self.parameter.detach()
            self._gram = torch.bmm(units, units.transpose(1, 2))
        return self._gram

    def _cosines(self) -> Tensor:
        """(N, T, T), differentiable where gradients are recorded."""
        if torch.is_grad_enabled() and self.parameter.requires_grad:
            return torch.bmm(self.parameter, self.parameter.transpose(1, 2))
        return self.gram

    def square_product(self, weights: Tensor) -> Tensor:
        if not self.is_factored:
            return _vector_product(weights, (1 - self._cosines()).square())
        # (1 - s)^2 = 1 - 2 s + s^2 cancels where all vectors are alike.
        units = self.parameter
        mean = torch.bmm(weights.unsqueeze(1), units).transpose(1, 2)
        squares = (torch.bmm(units, self._moment(weights)) * units).sum(2)
        product = weights.sum(1, keepdim=True) - 2 * torch.bmm(units, mean).squeeze(2) + squares
        return product.clamp_min(0)

    def _moment(self, weights: Tensor) -> Tensor:
        """(N, D, D) sum_i w_i x_i x_i^T."""
        units = self.parameter
        return torch.bmm(units.transpose(1, 2), units * weights.unsqueeze(2))

    def pullback(self, weights: Optional[Tensor], left: Tensor, right: Tensor) -> Tensor:
        units = self.parameter.detach()
        if not self.is_factored:
            gradient = _matrix_gradient(1 - self.gram, weights, left, right)
            return -2 * torch.bmm(gradient, units)
        gradient = torch.bmm(left.transpose(1, 2), torch.bmm(right, units))
        gradient = -gradient - torch.bmm(right.transpose(1, 2), torch.bmm(left, units))
        if weights is not None:
            mean = torch.bmm(weights.unsqueeze(1), units)
            spread = torch.bmm(units, self._moment(weights))
            gradient = gradient + 4 * weights.unsqueeze(2) * (spread - mean)
        return gradient


class TemporalEdges(Edges):
    """Distances in time, functions of d = |i - j| over ``width`` times the length.

    "exponential": 1 - exp(-d); "window": 0 where d <= 1, else 1; "absolute": d; "squared": d^2.
    The first two are 1 - adjacency: Gromov-Wasserstein costs the same with 1 - C as with C, and a
    distance has the direction of cosine edges. No T x T matrix is built.

    Args:
      lengths: (N,) of the sequences.
      size: T of the padded batch.
      kernel: one of ``KERNELS``.
      width: relative to the length of the sequence.
      dtype: of the computation.
    Raises:
      ValueError: an unknown kernel, or a width that is not a positive number.
    """

    def __init__(
        self,
        lengths: Tensor,
        size: int,
        kernel: str = "exponential",
        width: float = 0.1,
        dtype: torch.dtype = torch.float32,
    ):
        if not 0 < width < float("inf"):
            raise ValueError(f"width: expected a finite number above 0, found {width}.")
        if kernel not in KERNELS:
            raise ValueError(f"kernel: expected one of {', '.join(KERNELS)}; found {kernel!r}.")
        self.kernel, self.size = kernel, size
        self.steps = width * lengths.to(dtype)

    @property
    def shape(self) -> Tuple[int, int]:
        return len(self.steps), self.size

    @property
    def tensor(self) -> Tensor:
        return self.steps

    def masked(self, mask: Tensor) -> "TemporalEdges":
        return self  # plans and weights are zero there

    def operator(self) -> Operator:
        sign = -1.0 if self.kernel in ("exponential", "window") else 1.0
        return TemporalOperator(sign, self.kernel, self.steps)

    def square_product(self, weights: Tensor) -> Tensor:
        return self.operator().square_product(weights)

    def pullback(self, weights: Optional[Tensor], left: Tensor, right: Tensor) -> None:
        return None


def _vector_product(weights: Tensor, matrix: Tensor) -> Tensor:
    """(N, T) times (N, T, T): (N, T)."""
    return torch.bmm(weights.unsqueeze(1), matrix).squeeze(1)


def _matrix_gradient(
    matrix: Tensor, weights: Optional[Tensor], left: Tensor, right: Tensor
) -> Tensor:
    """Symmetric gradient of sum C_ij^2 w_i w_j + <left C, right> with respect to C."""
    cross = torch.bmm(left.transpose(1, 2), right)
    cross = (cross + cross.transpose(1, 2)) / 2
    if weights is None:
        return cross
    return cross + 2 * matrix * weights.unsqueeze(1) * weights.unsqueeze(2)


class _EdgeTerm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter_a, parameter_b, edges_a: Edges, edges_b: Edges, plan: Tensor):
        upright = plan.transpose(1, 2)
        cross = (edges_b.product(plan) * edges_a.product(upright).transpose(1, 2)).sum((1, 2))
        term = edges_a.energy(plan.sum(2)) + edges_b.energy(plan.sum(1)) - 2 * cross
        term = term.clamp_min(0)  # a sum of squares, up to rounding
        ctx.save_for_backward(plan, term)
        ctx.edges = edges_a, edges_b
        return term

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor):
        plan, term = ctx.saved_tensors
        edges_a, edges_b = ctx.edges
        # At its minimum, 0, the gradient is zero, whatever comes from above: of a square root
        # that is infinity.
        gradient = gradient.masked_fill(term == 0, 0)
        upright, gradient = plan.transpose(1, 2), gradient[:, None, None]
        gradients = [None, None]
        if ctx.needs_input_grad[0]:
            other = edges_b.product(plan).transpose(1, 2)
            gradients[0] = gradient * edges_a.pullback(plan.sum(2), -2 * upright, other)
        if ctx.needs_input_grad[1]:
            other = edges_a.product(upright).transpose(1, 2)
            gradients[1] = gradient * edges_b.pullback(plan.sum(1), -2 * plan, other)
        return (*gradients, None, None, None)


def edge_term(edges_a: Edges, edges_b: Edges, plan: Tensor) -> Tensor:
    """(N,) sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl for a plan (N, T, L), with its marginals r, c.

    Never negative; where it is zero, so is its gradient. With the plan held,
    dC1 = 2 (C1 o r r^T - P C2 P^T), likewise dC2; for cosine edges dX = -2 dC1 X.
    """
    return _EdgeTerm.apply(edges_a.parameter, edges_b.parameter, edges_a, edges_b, plan)
