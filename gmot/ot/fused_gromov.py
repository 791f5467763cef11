"""Fused Gromov-Wasserstein transport: an outer loop over Sinkhorn."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmot.ot.problem import (
    BACKENDS,
    PLAN_GRADIENTS,
    Problem,
    check_choice,
    check_iterations,
    check_positive,
    check_tolerance,
    make_problem,
    no_autocast,
)
from gmot.ot.result import TransportResult
from gmot.ot.sinkhorn import Marginals, scale

METHODS = ("projected_gradient", "proximal")


def fused_gromov_wasserstein(
    node_cost: Any,
    edges_a: Any,
    edges_b: Any,
    weights_a: Any = None,
    weights_b: Any = None,
    *,
    lengths_a: Any = None,
    lengths_b: Any = None,
    alpha: float = 0.5,
    epsilon: float = 0.05,
    method: str = "projected_gradient",
    max_outer: int = 100,
    max_inner: int = 10,
    tolerance: float = 1e-5,
    plan_gradient: str = "detach",
    backend: str = "auto",
) -> TransportResult:
    """Fused Gromov-Wasserstein transport between the graphs of a batch.

    The objective, over plans P with marginals a, b (M node cost, C1 and C2 edges):

      F(P)     = (1 - alpha) <M, P> + alpha sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl
      F_eps(P) = F(P) + epsilon sum P log P

    "projected_gradient": P <- argmin <grad F(P_old), P> + eps sum P log P. It comes to
    a stationary point of F_eps, warm-starting Sinkhorn, so few inner iterations do.
    "proximal": P <- argmin <grad F(P_old), P> + eps KL(P || P_old) (GM-OT, arXiv 2505.13079,
    Eq. 13). Here epsilon is a step size and the plan sharpens with every step, towards a
    stationary point of F: ``max_outer`` is part of the result. With alpha = 0, T steps are
    one Sinkhorn at eps / T. Both start from a b^T; the problem is not convex, and
    what is found is a stationary point, not always the global minimum.

    Equivalents: POT ``ot.gromov.entropic_fused_gromov_wasserstein(M, C1, C2, a, b,
    "square_loss", epsilon, alpha=alpha, solver="PGD" or "PPA")``, whose value is F; OTT's
    GromovWasserstein has ``fused_penalty = (1 - alpha) / (2 alpha)`` and
    ``epsilon = epsilon / (2 alpha)``. Papers that linearise without the factor 2: see
    ``gmot.transfer.systems.solver_convention``.

    Args:
      node_cost: (N, T, L) or one problem (T, L); torch or numpy. Computed in
        float32, in float64 when given that, whatever the autocast.
      edges_a, edges_b: (N, T, T), (N, L, L), symmetric.
      weights_a, weights_b: (N, T), (N, L); None: uniform. No gradient flows to them.
      lengths_a, lengths_b: (N,) integers; what lies beyond is padding and has no
        effect; None: all are full.
      alpha: weight of the edges, 0 (Sinkhorn) to 1 (Gromov-Wasserstein).
      epsilon: strength of the entropy, absolute, in units of the cost.
      method: the outer loop.
      max_outer: outer steps at most.
      max_inner: Sinkhorn iterations in an outer step at most.
      tolerance: an item stops when a step changed its plan by no more (L1) and its
        marginals are no further off (L1); then nothing of it changes while the
        others go on. An inner solve stops at this marginal error (looked at every
        ten iterations).
      plan_gradient: "detach", or "unroll": the plan is differentiable through all
        steps. The gradient of value, node and edge holds the plan in both.
      backend: "auto" or "torch".
    Returns:
      A TransportResult of torch tensors. ``value`` is F_eps; its gradient is exact
      where "projected_gradient" has converged (envelope theorem).
    Raises:
      ValueError: naming the argument and the item.
    """
    check_choice(backend, "backend", BACKENDS)
    check_choice(method, "method", METHODS)
    check_choice(plan_gradient, "plan_gradient", PLAN_GRADIENTS)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected a number from 0 to 1, found {alpha}.")
    check_positive(epsilon, "epsilon")
    check_iterations(max_outer, "max_outer")
    check_iterations(max_inner, "max_inner")
    check_tolerance(tolerance)
    for name, edges in (("edges_a", edges_a), ("edges_b", edges_b)):
        if edges is None:
            raise ValueError(f"{name}: is None; for transport without edges use sinkhorn.")
    problem = make_problem(node_cost, edges_a, edges_b, weights_a, weights_b, lengths_a, lengths_b)
    with no_autocast(problem.node_cost.device):
        unroll = plan_gradient == "unroll" and torch.is_grad_enabled()
        with torch.set_grad_enabled(unroll):
            solution = _solve(
                problem, alpha, epsilon, method == "proximal", max_outer, max_inner, tolerance
            )
        plan = solution.plan.transpose(1, 2).contiguous()
        held = plan.detach()
        node = (problem.node_cost * held).sum((1, 2))
        edge = _edge_term(problem, solution.plan.detach())
        entropy = torch.xlogy(held, held).sum((1, 2))
    result = TransportResult(
        plan=plan,
        value=(1 - alpha) * node + alpha * edge + epsilon * entropy,
        node=node,
        edge=edge,
        entropy=entropy,
        marginal_error=solution.error,
        iterations=solution.iterations,
    )
    return result.unbatched() if problem.single else result


class _Solution(NamedTuple):
    plan: Tensor
    error: Tensor
    iterations: Tensor


def _solve(
    problem: Problem,
    alpha: float,
    epsilon: float,
    proximal: bool,
    max_outer: int,
    max_inner: int,
    tolerance: float,
) -> _Solution:
    """The outer loop, on transposed plans (N, L, T). On a GPU it never waits for the host."""
    a, b = problem.weights_a, problem.weights_b
    marginals = Marginals.make(a, b)
    inside = (b > 0).unsqueeze(2) & (a > 0).unsqueeze(1)
    plan = b.unsqueeze(2) * a.unsqueeze(1) / a.sum(1)[:, None, None]
    psi = marginals.start()
    node_kernel = problem.node_cost.transpose(1, 2).contiguous() * ((alpha - 1) / epsilon)
    log_plan = torch.zeros_like(plan)  # up to terms of one index: the potentials absorb those
    error = torch.zeros_like(a[:, 0])
    active = torch.ones_like(a[:, 0], dtype=torch.bool)
    iterations = torch.zeros_like(a[:, 0], dtype=torch.int64)
    for _ in range(max_outer):
        kernel = node_kernel
        if alpha > 0:
            # grad F = (1 - alpha) M - 4 alpha C1 P C2 + terms of one index.
            product = torch.bmm(problem.edges_b, torch.bmm(plan, problem.edges_a))
            kernel = kernel + product * (4 * alpha / epsilon)
        if proximal:
            # The last step's increment of psi is a good guess of this one's.
            kernel = kernel + log_plan
        new = scale(kernel, marginals, psi, max_inner, tolerance)
        with torch.no_grad():
            change = (new.plan - plan).abs().sum((1, 2))
            error = torch.where(active, new.error, error)
        # Frozen items are computed with the others, and the result is dropped.
        plan = torch.where(active[:, None, None], new.plan, plan)
        psi = torch.where(active[:, None], new.psi, psi)
        if proximal:
            log_plan = kernel + new.phi.unsqueeze(1) + new.psi.unsqueeze(2)
            log_plan = log_plan.masked_fill(~inside, 0)
        iterations = iterations + active
        active = active & ((change > tolerance) | (new.error > tolerance))
        if a.device.type == "cpu" and not bool(active.any()):
            break
    return _Solution(plan, error, iterations)


def _edge_term(problem: Problem, plan: Tensor) -> Tensor:
    """(N,) sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl, for any plan (transposed)."""
    edges_a, edges_b = problem.edges_a, problem.edges_b
    rows, columns = plan.sum(1), plan.sum(2)
    square_a = (edges_a.square() * rows.unsqueeze(1) * rows.unsqueeze(2)).sum((1, 2))
    square_b = (edges_b.square() * columns.unsqueeze(1) * columns.unsqueeze(2)).sum((1, 2))
    cross = (torch.bmm(edges_b, torch.bmm(plan, edges_a)) * plan).sum((1, 2))
    return square_a + square_b - 2 * cross
