"""Fused Gromov-Wasserstein transport: an outer loop over Sinkhorn."""

from typing import Any, Optional

import torch

from gmot.ot.backends import PLAN_GRADIENTS, solve_problem, solve_unbalanced
from gmot.ot.edges import edge_term
from gmot.ot.problem import (
    check_choice,
    check_iterations,
    check_positive,
    check_reaches,
    check_tolerance,
    make_problem,
    no_autocast,
)
from gmot.ot.result import Objective, TransportResult, later
from gmot.ot.unbalanced import Settings, entropy_and_penalty

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
    reach_a: Optional[float] = None,
    reach_b: Optional[float] = None,
    method: str = "projected_gradient",
    max_outer: int = 100,
    max_inner: int = 10,
    tolerance: float = 1e-5,
    marginal_tolerance: Optional[float] = None,
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

    Unbalanced (a ``reach`` is given): that side's marginal is penalised and not kept, and
    all divergences are quadratic, KL2(x || y) = KL(x (x) x || y (x) y) of measures (Sejourne,
    Vialard, Peyre 2021; with nodes Thual et al. 2022, FUGW):

      F_eps(P) = F(P) + reach_a / 2 KL2(P 1 || a) + reach_b / 2 KL2(P^T 1 || b) + epsilon H(P),
      H(P)     = KL2(P || a b^T) / 2 + sum a log a + sum b log b

    A reach of None keeps that marginal exactly, without its penalty. A step solves unbalanced
    Sinkhorn with the exponents reach / (reach + epsilon) (:mod:`gmot.ot.unbalanced`). With
    weights of mass 1, H(P) is sum P log P where P has the marginals a, b: plan and value tend
    to the balanced ones as both reaches grow. (With mass m: to those at epsilon m.) "proximal"
    replaces KL(P || a b^T) by KL(P || P_old) in the step and tends to a stationary point
    without H.

    * At alpha = 0 this is not ``sinkhorn`` with reaches, whose penalties are linear in P (UOT)
      and whose entropy is relative to 1 and not to a b^T. The two agree in the balanced limit
      only; this one is continuous in alpha.
    * Where the node costs outweigh the penalties the empty plan is the minimum. A plan that
      shrinks below 2e-9 of the weights' mass is returned as zero, with marginal_error 0.

    Equivalent: POT ``ot.gromov.fused_unbalanced_gromov_wasserstein(C1, C2, a, b, M=M,
    alpha=(1 - alpha) / alpha, reg_marginals=(reach_a / (2 alpha), reach_b / (2 alpha)),
    epsilon=epsilon / (2 alpha), divergence="kl", unbalanced_solver="sinkhorn_log")``, infinity
    for None; ``value`` is alpha times its fugw_cost, plus
    epsilon (sum a log a + sum b log b).

    Args:
      node_cost: (N, T, L) or one problem (T, L); torch or numpy. Computed in
        float32, in float64 when given that, whatever the autocast.
      edges_a, edges_b: (N, T, T), (N, L, L), symmetric; or :class:`gmot.ot.CosineEdges`,
        :class:`gmot.ot.TemporalEdges`, which build no more than they must.
      weights_a, weights_b: (N, T), (N, L); None: uniform. No gradient flows to them.
      lengths_a, lengths_b: (N,) integers; what lies beyond is padding and has no
        effect; None: all are full.
      alpha: weight of the edges, 0 (Sinkhorn) to 1 (Gromov-Wasserstein).
      epsilon: strength of the entropy, absolute, in units of the cost.
      reach_a, reach_b: strength of the quadratic KL penalties on the marginals; None: the
        marginal is kept exactly. Both None: balanced, and both weights need the same mass.
      method: the outer loop.
      max_outer: outer steps at most.
      max_inner: Sinkhorn iterations in an outer step at most.
      tolerance: an item stops when a step changed its plan by no more (L1) and its
        marginals are no further off than ``marginal_tolerance`` (L1); then nothing of it
        changes while the others go on. (The kernels do not wait for less than rounding
        of the exponents moves: in float32 about 1e-7 of the costs over epsilon.)
      marginal_tolerance: an inner solve stops at this marginal error; None: tolerance.
        F_eps is off by the square of the plan's change, but in proportion to the marginal
        error: for its value alone 3e-3 and 1e-5 are a good pair.
      plan_gradient: of the plan itself: "detach": none; "unroll": through all steps
        (their memory grows with their number); "implicit": that of the converged plan
        (:mod:`gmot.ot.implicit`), "projected_gradient" and balanced only. The gradient of
        value, node and edge holds the plan in all.
      backend: see :mod:`gmot.ot.backends`. Unbalanced: "torch" solves whatever is asked for.
    Returns:
      A TransportResult of torch tensors. ``value`` is F_eps; its gradient is exact
      where "projected_gradient" has converged (envelope theorem).
    Raises:
      ValueError: naming the argument and the item.
    """
    check_choice(method, "method", METHODS)
    check_choice(plan_gradient, "plan_gradient", PLAN_GRADIENTS)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected a number from 0 to 1, found {alpha}.")
    check_positive(epsilon, "epsilon")
    check_reaches(reach_a, reach_b)
    balanced = reach_a is None and reach_b is None
    check_iterations(max_outer, "max_outer")
    check_iterations(max_inner, "max_inner")
    check_tolerance(tolerance)
    marginal_tolerance = tolerance if marginal_tolerance is None else marginal_tolerance
    check_tolerance(marginal_tolerance, "marginal_tolerance")
    if plan_gradient == "implicit" and method == "proximal":
        raise ValueError(
            "plan_gradient: implicit asks for a plan that has converged, and proximal steps stop "
            "before; use unroll, or the method projected_gradient."
        )
    if plan_gradient == "implicit" and not balanced:
        raise ValueError("plan_gradient: implicit is for balanced transport; use unroll.")
    for name, edges in (("edges_a", edges_a), ("edges_b", edges_b)):
        if edges is None:
            raise ValueError(f"{name}: is None; for transport without edges use sinkhorn.")
    problem = make_problem(
        *(node_cost, edges_a, edges_b, weights_a, weights_b, lengths_a, lengths_b),
        balanced=balanced,
    )
    shared = {
        "alpha": float(alpha),
        "epsilon": epsilon,
        "proximal": method == "proximal",
        "max_outer": max_outer,
        "max_inner": max_inner,
        "tolerance": tolerance,
        "marginal_tolerance": marginal_tolerance,
    }
    with no_autocast(problem.node_cost.device):
        if balanced:
            solution = solve_problem(problem, backend, plan_gradient, **shared)
        else:
            settings = Settings(reach_a=reach_a, reach_b=reach_b, **shared)
            solution = solve_unbalanced(problem, backend, plan_gradient, settings)

    def objective() -> Objective:
        held = solution.plan.detach()
        node = (problem.node_cost * held).sum((1, 2))
        edge = edge_term(problem.edges_a, problem.edges_b, held)
        if balanced:
            entropy, penalty = torch.xlogy(held, held).sum((1, 2)), 0.0
        else:
            entropy, penalty = entropy_and_penalty(problem, held, reach_a, reach_b)
        value = (1 - alpha) * node + alpha * edge + epsilon * entropy + penalty
        return Objective(value, node, edge, entropy)

    result = TransportResult(
        plan=solution.plan,
        marginal_error=solution.error,
        iterations=solution.iterations.clamp(max=max_outer),
        objective=later(objective, solution.plan),
    )
    return result.unbatched() if problem.single else result
