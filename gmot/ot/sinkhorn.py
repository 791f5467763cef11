"""Entropic transport, balanced and unbalanced, by Sinkhorn's algorithm."""

from typing import Any, Optional

import torch
from torch import Tensor

from gmot.ot.backends import PLAN_GRADIENTS, solve_problem
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


def sinkhorn(
    cost: Any,
    weights_a: Any = None,
    weights_b: Any = None,
    *,
    lengths_a: Any = None,
    lengths_b: Any = None,
    epsilon: float = 0.05,
    reach_a: Optional[float] = None,
    reach_b: Optional[float] = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-5,
    newton_steps: int = 0,
    plan_gradient: str = "detach",
    backend: str = "auto",
) -> TransportResult:
    """Entropic optimal transport of a batch.

    Minimises <C, P> + eps sum P log P over the plans with marginals a, b. With a reach, that
    side's constraint becomes a penalty: reach * KL(P 1 || a), KL(x || y) = sum x log(x/y) - x + y,
    and the scaling has the exponent reach / (reach + eps) (UOT, arXiv 2509.05609, Eq. 5-9; its
    lambda_1, lambda_2). The unbalanced entropy is sum P log P - P: Eq. 9 is exact for it.
    Equivalents: POT ``ot.sinkhorn(a, b, C, eps)``, and
    ``ot.unbalanced.sinkhorn_unbalanced(a, b, C, eps, (reach_a, reach_b), reg_type="entropy")``.

    Args:
      cost: (N, T, L) or one problem (T, L); torch or numpy. Computed in float32,
        in float64 when given that, whatever the autocast.
      weights_a, weights_b: (N, T), (N, L); None: uniform. No gradient flows to them.
      lengths_a, lengths_b: (N,) integers; what lies beyond is padding and has no
        effect; None: all are full.
      epsilon: strength of the entropy, absolute, in units of the cost.
      reach_a, reach_b: strength of the KL penalties; None: the marginal is kept exactly.
      max_iterations: an iteration scales rows, then columns.
      tolerance: an item stops at this marginal error (L1). It is looked at every
        ten iterations.
      newton_steps: steps of Newton's method at most on the potentials that the iterations start
        from (:mod:`gmot.ot.backends.newton`). Where costs leave each row a few neighbouring
        columns, Sinkhorn alone needs thousands of iterations, and 40 steps suffice; a step costs
        about min(T, L) / 2 iterations.
      plan_gradient: of the plan itself: "detach": none; "unroll": through the iterations
        (their memory grows with their number); "implicit": that of the converged plan
        (:mod:`gmot.ot.implicit`), balanced transport only. The gradient of ``value`` is
        the envelope gradient in all.
      backend: see :mod:`gmot.ot.backends`.
    Returns:
      A TransportResult of torch tensors; ``edge`` is zero.
    Raises:
      ValueError: naming the argument and the item.
    """
    check_choice(plan_gradient, "plan_gradient", PLAN_GRADIENTS)
    check_positive(epsilon, "epsilon")
    check_iterations(max_iterations, "max_iterations")
    check_tolerance(tolerance)
    check_reaches(reach_a, reach_b)
    if newton_steps:
        check_iterations(newton_steps, "newton_steps")
        if plan_gradient == "unroll":
            raise ValueError(
                "newton_steps: unroll differentiates Sinkhorn's iterations, which have to lead "
                "from the start to the solution; expected 0 or another plan_gradient."
            )
    balanced = reach_a is None and reach_b is None
    if plan_gradient == "implicit" and not balanced:
        raise ValueError("plan_gradient: implicit is for balanced transport; use unroll.")
    problem = make_problem(
        cost,
        weights_a=weights_a,
        weights_b=weights_b,
        lengths_a=lengths_a,
        lengths_b=lengths_b,
        cost_name="cost",
        balanced=balanced,
    )
    power_a, power_b = (
        1.0 if reach is None else reach / (reach + epsilon) for reach in (reach_a, reach_b)
    )
    with no_autocast(problem.node_cost.device):
        solution = solve_problem(
            problem,
            backend,
            plan_gradient,
            newton_steps,
            alpha=0.0,
            epsilon=epsilon,
            proximal=False,
            max_outer=1,
            max_inner=max_iterations,
            tolerance=tolerance,
            marginal_tolerance=tolerance,
            power_a=power_a,
            power_b=power_b,
        )

    def objective() -> Objective:
        held = solution.plan.detach()
        node = (problem.node_cost * held).sum((1, 2))
        entropy = torch.xlogy(held, held).sum((1, 2))
        penalty = torch.zeros_like(entropy)
        if not balanced:
            entropy = entropy - held.sum((1, 2)) + problem.weights_a.sum(1)
        if reach_a is not None:
            penalty = penalty + reach_a * _divergence(held.sum(2), problem.weights_a)
        if reach_b is not None:
            penalty = penalty + reach_b * _divergence(held.sum(1), problem.weights_b)
        return Objective(node + epsilon * entropy + penalty, node, torch.zeros_like(node), entropy)

    result = TransportResult(
        plan=solution.plan,
        marginal_error=solution.error,
        iterations=solution.iterations,
        objective=later(objective, solution.plan),
    )
    return result.unbatched() if problem.single else result


def _divergence(x: Tensor, y: Tensor) -> Tensor:
    """(N,) KL(x || y) of measures; x is zero where y is."""
    ratio = x / y.masked_fill(y == 0, 1)
    return (torch.xlogy(x, ratio) - x + y).sum(1)
