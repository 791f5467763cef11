"""Gradient of a converged plan, by differentiating its optimality conditions.

A fixed point P of the projected gradient loop is Sinkhorn's plan for the cost
G = (1 - w) M - 4 w C1 P C2 (w: edge weight), and a change dG changes it by -Pi(dG) / epsilon. Here

  Pi(X) = P o (X - u 1^T - 1 v^T),   u, v such that the rows and columns of Pi(X) sum to zero,

is self-adjoint. For a loss with gradient W with respect to P, the adjoint equation is therefore

  Lambda = W + (4 w / epsilon) C1 Pi(Lambda) C2,

solved by iteration (which contracts where the loop does), and dM = -(1 - w) / epsilon Pi(Lambda),
dC1 and dC2 by the same product rule. An iteration costs an outer step without its Sinkhorn: Pi
needs one L x L system, factored once.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gmot.ot.newton import cholesky_solve
from gmot.ot.precision import no_autocast
from gmot.ot.problem import Problem, Settings, stops_early
from gmot.ot.solver import edge_gain, select

# A GPU does all of them: they cost less than a wait for the device.
_MAX_ITERATIONS = 200
_RELATIVE_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}


def implicit_plan(problem: Problem, settings: Settings, plan: Tensor) -> Tensor:
    """``plan`` (N, T, L), differentiable with respect to the problem's costs and edges."""
    parameters = [x and x.parameter for x in (problem.edges_a, problem.edges_b)]
    return _ImplicitPlan.apply(problem.node_cost, *parameters, problem, settings, plan)


class _ImplicitPlan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *_, ctx.problem, ctx.settings, plan = inputs  # behind costs and parameters, for autograd
        ctx.save_for_backward(plan)
        return plan.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        with no_autocast(gradient.device):
            return _ImplicitPlan._backward(ctx, gradient)

    @staticmethod
    def _backward(ctx: Any, gradient: Tensor) -> Any:
        (plan,) = ctx.saved_tensors
        settings = ctx.settings
        tangent = _Tangent(plan)
        moved = tangent.project(gradient)
        gradients: list[Tensor | None] = [None, None]
        if settings.edge_weight > 0:
            moved = _adjoint(tangent, gradient, moved, ctx.problem, settings)
            weight = 4 * settings.edge_weight / settings.epsilon
            edges_a, edges_b = ctx.problem.edges
            if ctx.needs_input_grad[1]:
                other = edges_b.product(plan).transpose(1, 2)
                gradients[0] = edges_a.pullback(None, weight * other, moved.transpose(1, 2))
            if ctx.needs_input_grad[2]:
                other = edges_a.product(plan.transpose(1, 2)).transpose(1, 2)
                gradients[1] = edges_b.pullback(None, weight * other, moved)
        node_gradient = moved * ((settings.edge_weight - 1) / settings.epsilon)
        return (node_gradient, *gradients, None, None, None)


def _adjoint(
    tangent: "_Tangent", gradient: Tensor, moved: Tensor, problem: Problem, settings: Settings
) -> Tensor:
    """Pi(Lambda), from Pi(W)."""
    edges_a, edges_b = problem.edges
    weight = edge_gain(problem, settings)
    active = torch.ones_like(moved[:, 0, 0], dtype=torch.bool)
    for _ in range(_MAX_ITERATIONS):
        product = edges_b.multiply(moved).transpose(1, 2)
        product = edges_a.multiply(product).transpose(1, 2)
        new = tangent.project(gradient + weight * product)
        change, size = (x.abs().sum((1, 2)) for x in (new - moved, new))
        (moved,) = select(active, (new,), (moved,))
        active = active & (change > _RELATIVE_TOLERANCE[moved.dtype] * size)
        if stops_early(moved) and not bool(active.any()):
            break
    return moved


class _Tangent:
    """Pi at a plan (N, T, L)."""

    def __init__(self, plan: Tensor):
        self.plan = plan
        rows = plan.sum(2, keepdim=True)
        # Given the column potentials v, u = (x - P v) / rows.
        self.conditional = plan / rows.masked_fill(rows == 0, 1)
        # The remaining system for v is a graph Laplacian, singular in the constant vector. Computed
        # from its off-diagonal, it is accurate even where columns hardly share rows.
        shared = torch.bmm(plan.double().transpose(1, 2), self.conditional.double())
        shared = shared - torch.diag_embed(shared.diagonal(dim1=1, dim2=2))
        degrees = shared.sum(2)
        columns = plan.double().sum(1)
        # Columns that share nothing, and padding, have v = 0.
        scale = columns.amax(1, keepdim=True)
        alone = degrees <= 1e-14 * scale
        laplacian = torch.diag_embed(degrees.masked_fill(alone, 1) + 1e-12 * scale) - shared
        present = (~alone).double()
        constant = scale.unsqueeze(2) * present.unsqueeze(2) * present.unsqueeze(1)
        # Not singular: without a check of the error code, there is no synchronisation.
        self.factor = torch.linalg.cholesky_ex(laplacian + constant / plan.size(2))[0]

    def project(self, x: Tensor) -> Tensor:
        """Pi(x), (N, T, L)."""
        weighted = self.plan * x
        row_sums = weighted.sum(2, keepdim=True)
        right = weighted.sum(1) - (self.conditional * row_sums).sum(1)
        v = cholesky_solve(self.factor, right.double().unsqueeze(2)).to(x.dtype)
        u_rows = row_sums - torch.bmm(self.plan, v)
        return weighted - self.conditional * u_rows - self.plan * v.transpose(1, 2)
