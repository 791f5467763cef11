"""The gradient of a plan that has converged, by differentiating its optimality conditions.

At a fixed point of the projected gradient loop P is Sinkhorn's plan for the cost
G = (1 - alpha) M - 4 alpha C1 P C2, and a change dG changes such a plan by -Pi(dG) / epsilon, where

  Pi(X) = P o (X - u 1^T - 1 v^T),   u, v such that the rows and columns of Pi(X) sum to zero,

is self-adjoint. For a loss with gradient W with respect to P the adjoint equation is therefore

  Lambda = W + (4 alpha / epsilon) C1 Pi(Lambda) C2,

which is solved by iterating it (it contracts where the loop itself does), and
dM = -(1 - alpha) / epsilon Pi(Lambda), dC1 and dC2 likewise. An iteration costs an outer step
without its Sinkhorn: Pi needs one L x L system, factored once.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gmot.ot.problem import Problem
from gmot.ot.task import Task

_MAX_ITERATIONS = 200
# A GPU has to wait for the answer whether it has converged: asked once per so many iterations.
_CHECK_INTERVAL = 10
_RELATIVE_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}


def implicit_plan(problem: Problem, task: Task, plan: Tensor) -> Tensor:
    """``plan`` (N, T, L), differentiable with respect to the problem's costs and edges."""
    parameters = [
        e.parameter if e is not None else None for e in (problem.edges_a, problem.edges_b)
    ]
    return _ImplicitPlan.apply(problem.node_cost, *parameters, problem, task, plan)


class _ImplicitPlan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, node_cost, parameter_a, parameter_b, problem, task, plan):
        ctx.save_for_backward(plan)
        ctx.problem, ctx.task = problem, task
        return plan.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor):
        (plan,) = ctx.saved_tensors
        task = ctx.task
        tangent = _Tangent(plan)
        moved = tangent.project(gradient)
        gradients = [None, None]
        if task.alpha > 0:
            weight = 4 * task.alpha / task.epsilon
            moved = _adjoint(tangent, gradient, moved, task, weight)
            edges_a, edges_b = ctx.problem.edges_a, ctx.problem.edges_b
            upright, moved_upright = plan.transpose(1, 2), moved.transpose(1, 2)
            if ctx.needs_input_grad[1]:
                other = edges_b.product(plan).transpose(1, 2)
                gradients[0] = edges_a.pullback(None, weight * other, moved_upright)
            if ctx.needs_input_grad[2]:
                other = edges_a.product(upright).transpose(1, 2)
                gradients[1] = edges_b.pullback(None, weight * other, moved)
        node_gradient = moved * ((task.alpha - 1) / task.epsilon)
        return (node_gradient, *gradients, None, None, None)


def _adjoint(
    tangent: "_Tangent", gradient: Tensor, moved: Tensor, task: Task, weight: float
) -> Tensor:
    """Pi(Lambda)."""
    weight = weight * task.edges_a.sign * task.edges_b.sign
    interval = 1 if moved.device.type == "cpu" else _CHECK_INTERVAL
    for iteration in range(1, _MAX_ITERATIONS + 1):
        product = task.edges_b.product(moved).transpose(1, 2)
        product = task.edges_a.product(product).transpose(1, 2)
        last, moved = moved, tangent.project(gradient + weight * product)
        if iteration % interval == 0:
            change = (moved - last).abs().sum((1, 2))
            if bool((change <= _RELATIVE_TOLERANCE[moved.dtype] * moved.abs().sum((1, 2))).all()):
                break
    return moved


class _Tangent:
    """Pi at a plan (N, T, L)."""

    def __init__(self, plan: Tensor):
        self.plan = plan
        rows = plan.sum(2, keepdim=True)
        # Frames given the column potentials v: u = (x - P v) / rows.
        self.conditional = plan / rows.masked_fill(rows == 0, 1)
        # What remains for v is a graph's Laplacian, singular in the constant vector. Made from its
        # off-diagonal it is accurate even where tokens hardly share frames.
        shared = torch.bmm(plan.double().transpose(1, 2), self.conditional.double())
        shared = shared - torch.diag_embed(shared.diagonal(dim1=1, dim2=2))
        degrees = shared.sum(2)
        columns = plan.double().sum(1)
        # Tokens that share nothing, and padding, are left alone.
        scale = columns.amax(1, keepdim=True)
        alone = degrees <= 1e-14 * scale
        laplacian = torch.diag_embed(degrees.masked_fill(alone, 1) + 1e-12 * scale) - shared
        present = (~alone).double()
        constant = scale.unsqueeze(2) * present.unsqueeze(2) * present.unsqueeze(1)
        # Not singular, so there is no error to check, for which a GPU would have to wait.
        self.factors = torch.linalg.lu_factor_ex(laplacian + constant / plan.size(2))[:2]

    def project(self, x: Tensor) -> Tensor:
        """Pi(x), (N, T, L)."""
        weighted = self.plan * x
        row_sums = weighted.sum(2, keepdim=True)
        right = weighted.sum(1) - (self.conditional * row_sums).sum(1)
        v = torch.linalg.lu_solve(*self.factors, right.double().unsqueeze(2)).to(x.dtype)
        u_rows = row_sums - torch.bmm(self.plan, v)
        return weighted - self.conditional * u_rows - self.plan * v.transpose(1, 2)
