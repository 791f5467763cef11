"""Public functions: entropic transport and fused Gromov-Wasserstein transport."""

from typing import Any

import torch
from torch import Tensor

from gmot.ot import kernels, unbalanced
from gmot.ot.problem import Problem, Settings, check_choice, check_iterations, make_problem
from gmot.ot.result import Objective, Solution, TransportResult, fused_objective

METHODS = ("projected_gradient", "proximal")
PLAN_GRADIENTS = ("detach", "unroll", "implicit")


def sinkhorn(
    cost: Any,
    marginal_a: Any = None,
    marginal_b: Any = None,
    *,
    lengths_a: Any = None,
    lengths_b: Any = None,
    epsilon: float = 0.05,
    reach_a: float | None = None,
    reach_b: float | None = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-5,
    newton_steps: int = 0,
    plan_gradient: str = "detach",
    backend: str = "auto",
    validate: bool = True,
) -> TransportResult:
    """Entropic optimal transport of a batch.

    Minimises <C, P> + epsilon sum P log P over the plans P with marginals a, b. A reach replaces
    the constraint of its side by the penalty reach * KL(P 1 || a), KL(x || y) = sum x log(x/y) - x
    + y, and Sinkhorn's scaling by its power reach / (reach + epsilon) (UOT, arXiv 2509.05609,
    Eq. 5-9, lambda_1 and lambda_2). The entropy is then sum P log P - P.

    In POT: ``ot.sinkhorn(a, b, C, epsilon)``, ``ot.unbalanced.sinkhorn_unbalanced(a, b, C, epsilon,
    (reach_a, reach_b), reg_type="entropy")``.

    Args:
      cost: (N, T, L), or (T, L) for a single problem; torch or numpy. float64 is computed in
        float64, all else in float32, whatever the autocast.
      marginal_a, marginal_b: (N, T), (N, L); None: uniform. They receive no gradient.
      lengths_a, lengths_b: (N,) integers; positions beyond are padding; None: no padding.
      epsilon: entropy strength in units of the cost.
      reach_a, reach_b: strengths of the KL penalties; None: exact marginal.
      max_iterations: one iteration scales rows, then columns.
      tolerance: marginal error (L1) at which an item stops; checked every ten iterations by torch.
      newton_steps: maximum number of Newton steps for the start potentials
        (:mod:`gmot.ot.newton`). Costs that leave each row a few neighbouring columns take
        thousands of iterations without, 40 steps with; a step costs about min(T, L) / 2 iterations.
      plan_gradient: gradient of the plan: "detach": none; "unroll": through the iterations, whose
        memory grows with their number; "implicit": of the converged plan (:mod:`gmot.ot.implicit`),
        balanced only. ``value`` always has its envelope gradient.
      backend: see :mod:`gmot.ot.kernels`.
      validate: check the values, for which a GPU is waited for. Without, items with NaN, infinite
        costs or wrong lengths have undefined results, those of the others do not change.
    Returns:
      TransportResult; ``edge`` is zero.
    Raises:
      ValueError: naming the argument and the item.
    """
    check_iterations(max_iterations, "max_iterations")
    settings = Settings(
        edge_weight=0.0,
        epsilon=epsilon,
        proximal=False,
        max_outer=1,
        max_inner=max_iterations,
        tolerance=tolerance,
        marginal_tolerance=tolerance,
        reach_a=reach_a,
        reach_b=reach_b,
    )
    _check_plan_gradient(plan_gradient, settings)
    if newton_steps:
        check_iterations(newton_steps, "newton_steps")
        if plan_gradient == "unroll":
            raise ValueError(
                "newton_steps: plan_gradient unroll differentiates Sinkhorn's iterations from the "
                "start to the solution; expected newton_steps 0 or another plan_gradient."
            )
    problem = make_problem(
        *(cost, None, None, marginal_a, marginal_b, lengths_a, lengths_b),
        cost_name="cost",
        balanced=settings.is_balanced,
        validate=validate,
    )
    solution = kernels.solve(problem, settings, backend, plan_gradient, newton_steps)
    return _result(problem, settings, solution)


def fused_gromov_wasserstein(
    node_cost: Any,
    edges_a: Any,
    edges_b: Any,
    marginal_a: Any = None,
    marginal_b: Any = None,
    *,
    lengths_a: Any = None,
    lengths_b: Any = None,
    edge_weight: float = 0.5,
    epsilon: float = 0.05,
    reach_a: float | None = None,
    reach_b: float | None = None,
    method: str = "projected_gradient",
    max_outer: int = 100,
    max_inner: int = 10,
    tolerance: float = 1e-5,
    marginal_tolerance: float | None = None,
    plan_gradient: str = "detach",
    backend: str = "auto",
    validate: bool = True,
) -> TransportResult:
    """Fused Gromov-Wasserstein transport between the graphs of a batch.

    The objective over plans P with marginals a, b (node costs M, edge costs C1 and C2, w =
    edge_weight):

      F(P)     = (1 - w) <M, P> + w sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl
      F_eps(P) = F(P) + epsilon sum P log P

    "projected_gradient": P <- argmin <grad F(P_old), P> + epsilon sum P log P, to a stationary
    point of F_eps.
    "proximal": P <- argmin <grad F(P_old), P> + epsilon KL(P || P_old) (GM-OT, arXiv 2505.13079,
    Eq. 13). epsilon is a step size: every step sharpens the plan, towards a stationary point of F,
    and ``max_outer`` is part of the result. For w = 0, K steps are one Sinkhorn at
    epsilon / K. Both start from a b^T; the problem is not convex.

    In POT: ``ot.gromov.entropic_fused_gromov_wasserstein(M, C1, C2, a, b, "square_loss",
    epsilon, alpha=w, solver="PGD" or "PPA")``, whose value is F; OTT's GromovWasserstein with
    ``fused_penalty = (1 - w) / (2 w)`` and ``epsilon / (2 w)``. Papers that linearise without the
    factor 2: see ``solver_convention`` in ``gmot.transfer``.

    Unbalanced: all divergences are quadratic, KL2(x || y) = KL(x (x) x || y (x) y) of measures
    (Sejourne, Vialard, Peyre 2021; with node costs Thual et al. 2022, FUGW):

      F_eps(P) = F(P) + reach_a / 2 KL2(P 1 || a) + reach_b / 2 KL2(P^T 1 || b) + epsilon H(P)
      H(P)     = KL2(P || a b^T) / 2 + sum a log a + sum b log b

    For growing reaches and mass 1, plan and value tend to the balanced ones (mass m: to those at
    epsilon m). "proximal" steps have KL(P || P_old) in place of KL(P || a b^T) and tend to a
    stationary point without H. Note:

    * w = 0 is not ``sinkhorn`` with reaches, whose penalties are linear in P (UOT) and whose
      entropy is relative to 1.
    * Where node costs outweigh the penalties, the minimum is the empty plan: plans below 2e-9 of
      the marginals' mass are returned as zero, with marginal_error 0.

    In POT: ``ot.gromov.fused_unbalanced_gromov_wasserstein(C1, C2, a, b, M=M,
    alpha=(1 - w) / w, reg_marginals=(reach_a / (2 w), reach_b / (2 w)), epsilon=epsilon / (2 w),
    divergence="kl", unbalanced_solver="sinkhorn_log")``, infinity for None; ``value`` is w times
    its fugw_cost, plus epsilon (sum a log a + sum b log b).

    Args:
      node_cost, marginal_a, marginal_b, lengths_a, lengths_b, epsilon, validate: see
        :func:`sinkhorn`.
      edges_a, edges_b: (N, T, T), (N, L, L), symmetric; or :class:`gmot.ot.CosineEdges`,
        :class:`gmot.ot.TemporalEdges`.
      edge_weight: from 0 (node costs alone) to 1 (Gromov-Wasserstein).
      reach_a, reach_b: strengths of the quadratic KL penalties; None: exact marginal.
      max_outer, max_inner: outer steps, and Sinkhorn iterations in each, at most.
      tolerance: an item stops when a step changes its plan by at most this (L1) and its marginal
        error is at most ``marginal_tolerance``. (The compiled kernels also stop at the rounding
        error of the exponents, in float32 about 1e-7 of the costs over epsilon.)
      marginal_tolerance: marginal error (L1) at which an inner solve stops; None: ``tolerance``.
        F_eps depends quadratically on the error of the plan, but linearly on the marginal error:
        for values alone, 3e-3 and 1e-5 are a good pair.
      plan_gradient: see :func:`sinkhorn`; "implicit": "projected_gradient" and balanced only.
        value, node and edge always hold the plan constant.
      backend: see :mod:`gmot.ot.kernels`. Unbalanced problems are solved by "torch".
    Returns:
      TransportResult. ``value`` is F_eps; its gradient is exact where "projected_gradient" has
      converged (envelope theorem).
    Raises:
      ValueError: naming the argument and the item.
    """
    check_choice(method, "method", METHODS)
    settings = Settings(
        edge_weight=float(edge_weight),
        epsilon=epsilon,
        proximal=method == "proximal",
        max_outer=max_outer,
        max_inner=max_inner,
        tolerance=tolerance,
        marginal_tolerance=tolerance if marginal_tolerance is None else marginal_tolerance,
        reach_a=reach_a,
        reach_b=reach_b,
    )
    _check_plan_gradient(plan_gradient, settings)
    for name, edges in (("edges_a", edges_a), ("edges_b", edges_b)):
        if edges is None:
            raise ValueError(f"{name}: is None; sinkhorn solves problems without edges.")
    inputs = (edges_a, edges_b, marginal_a, marginal_b, lengths_a, lengths_b)
    balanced = settings.is_balanced
    problem = make_problem(node_cost, *inputs, balanced=balanced, validate=validate)
    solution = kernels.solve(problem, settings, backend, plan_gradient)
    return _result(problem, settings, solution)


def _check_plan_gradient(plan_gradient: str, settings: Settings) -> None:
    check_choice(plan_gradient, "plan_gradient", PLAN_GRADIENTS)
    if plan_gradient == "implicit" and settings.proximal:
        raise ValueError(
            "plan_gradient: implicit needs a converged plan, and proximal steps stop before; use "
            "unroll, or the method projected_gradient."
        )
    if plan_gradient == "implicit" and not settings.is_balanced:
        raise ValueError("plan_gradient: implicit is for balanced transport; use unroll.")


def _result(problem: Problem, settings: Settings, solution: Solution) -> TransportResult:
    def terms() -> Objective:
        if problem.edges_a is None:
            return _sinkhorn_objective(problem, settings, solution.plan.detach())
        if not settings.is_balanced:
            return unbalanced.objective(problem, settings, solution.plan.detach())
        weights = settings.edge_weight, settings.epsilon
        return fused_objective(problem.node_cost, *problem.edges, solution.plan, *weights)

    plan, error, iterations = solution
    if problem.edges_a is not None:  # of a single outer step, backends count the inner iterations
        iterations = iterations.clamp(max=settings.max_outer)
    if not problem.is_single:
        return TransportResult(plan, error, iterations, terms)
    item = plan[0], error[0], iterations[0]
    return TransportResult(*item, lambda: Objective(*(term[0] for term in terms())))


def _sinkhorn_objective(problem: Problem, settings: Settings, plan: Tensor) -> Objective:
    node = (problem.node_cost * plan).sum((1, 2))
    entropy = torch.xlogy(plan, plan).sum((1, 2))
    if not settings.is_balanced:
        entropy = entropy - plan.sum((1, 2)) + problem.marginal_a.sum(1)
    penalty = unbalanced.penalties(problem, settings, plan, _divergence)
    value = node + settings.epsilon * entropy + penalty
    return Objective(value, node, torch.zeros_like(node), entropy)


def _divergence(x: Tensor, y: Tensor) -> Tensor:
    """(N,) KL(x || y) of measures; x is zero where y is."""
    ratio = x / y.masked_fill(y == 0, 1)
    return (torch.xlogy(x, ratio) - x + y).sum(1)
