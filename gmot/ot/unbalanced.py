"""Solver of unbalanced fused Gromov-Wasserstein.

After Sejourne, Vialard, Peyre 2021 (arXiv 2009.04266) and Thual et al. 2022 (FUGW, NeurIPS).
The objective F_eps is in :func:`gmot.ot.fused_gromov_wasserstein`. Its bilinear form is convex in
each plan, so the papers minimise over one plan with the other fixed. With P_old = m p_old, p_old of
mass 1, this is one unbalanced Sinkhorn problem,

  min_P  <(1 - w) M + 2 w m L(p_old) + constant, P>
         + m [epsilon KL(P || a b^T) + reach_a KL(P 1 || a) + reach_b KL(P^T 1 || b)],
  L(p)_ik = (C1^2 r)_i + (C2^2 c)_k - 2 (C1 p C2)_ik,    w: edge weight; r, c: marginals of p,

in which epsilon and reach are scaled by the mass and the exponents reach / (reach + epsilon) are
not. The constant changes the mass of the solution and not its shape p, so p is the solution divided
by its sum, and Sinkhorn's slowest mode (the mass, contracting by the product of the exponents) is
free. The mass then minimises F_eps along the ray through p,

  F_eps(m p) = A m + (B - S / 2) m^2 + S m^2 log m + constant,

  A = (1 - w) <M, p>,  B = w <L(p), p> + sum_k s_k KL_k,  S = sum_k s_k,

where s_k are reach_a, reach_b and epsilon, and KL_k = sum x log (x / y) of p's marginals and of p.
With one exact marginal, the mass is that of the marginal.

Proximal steps replace KL(P || a b^T) by KL(P || P_old); the mass is then the best one without
entropy.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gmot.ot.problem import Problem, Settings, stops_early
from gmot.ot.result import Objective, Solution, fused_objective
from gmot.ot.solver import exponential, select

# Largest change of log(mass) per outer step.
_LARGEST_MASS_STEP = 1.0
# Plans below exp(-20) = 2e-9 of the marginals' mass are returned as empty.
_LOWEST_LOG_MASS = -20.0


class _Shape(NamedTuple):
    """Plan of mass 1."""

    log_plan: Tensor  # (N, T, L), -inf where there is no mass
    psi: Tensor  # (N, L) column potential over epsilon, the start of the next solve
    error: Tensor  # (N,) L1 distance of the marginals to the optimal ones


def relative_entropy(x: Tensor, *factors: Tensor) -> Tensor:
    """(N,) sum x log (x / y); x is zero where y is.

    ``factors``: y (N, T), or a (N, T) and b (N, L) with y = a b^T.
    """
    total = torch.xlogy(x, x).flatten(1).sum(1)
    for factor, marginal in zip(factors, (x,) if x.dim() == 2 else (x.sum(2), x.sum(1))):
        total = total - torch.xlogy(marginal, factor.masked_fill(factor == 0, 1)).sum(1)
    return total


def product_divergence(x: Tensor, *factors: Tensor) -> Tensor:
    """(N,) KL(x (x) x || y (x) y) of measures; arguments of :func:`relative_entropy`."""
    mass_x, mass_y = x.flatten(1).sum(1), factors[0].sum(1)
    for factor in factors[1:]:
        mass_y = mass_y * factor.sum(1)
    return 2 * mass_x * relative_entropy(x, *factors) - mass_x.square() + mass_y.square()


def penalties(
    problem: Problem,
    settings: Settings,
    plan: Tensor,
    divergence: Callable[[Tensor, Tensor], Tensor],
) -> Tensor | float:
    """(N,) reaches times divergences of the plan's marginals from the given ones."""
    sides = (
        (settings.reach_a, plan.sum(2), problem.marginal_a),
        (settings.reach_b, plan.sum(1), problem.marginal_b),
    )
    return sum(reach * divergence(x, y) for reach, x, y in sides if reach is not None)


def objective(problem: Problem, settings: Settings, plan: Tensor) -> Objective:
    """F_eps, with the entropy H and the penalties, at a constant plan."""
    a, b = problem.marginal_a, problem.marginal_b
    entropy = product_divergence(plan, a, b) / 2
    entropy = entropy + torch.xlogy(a, a).sum(1) + torch.xlogy(b, b).sum(1)
    penalty = penalties(problem, settings, plan, product_divergence) / 2
    weights = settings.edge_weight, settings.epsilon
    return fused_objective(problem.node_cost, *problem.edges, plan, *weights, entropy, penalty)


def solve(problem: Problem, settings: Settings) -> Solution:
    """Alternating minimisation over plans; without host synchronisation on a GPU."""
    a, b = problem.marginal_a, problem.marginal_b
    inside = (a > 0).unsqueeze(2) & (b > 0).unsqueeze(1)
    # Finite without mass too: there the potentials are -inf.
    log_reference = _log(a).unsqueeze(2) + _log(b).unsqueeze(1)
    mass_a, mass_b = a.sum(1), b.sum(1)
    is_fixed = settings.reach_a is None or settings.reach_b is None
    if is_fixed:
        log_mass = (mass_a if settings.reach_a is None else mass_b).log()
    else:
        log_mass = (mass_a * mass_b).log() / 2
    lowest = log_mass + _LOWEST_LOG_MASS
    log_plan = log_reference - (mass_a * mass_b).log()[:, None, None]
    shape = _Shape(
        log_plan.masked_fill(~inside, -float("inf")),
        torch.zeros_like(b).masked_fill(b == 0, -float("inf")),
        torch.zeros_like(mass_a),
    )
    plan = exponential(shape.log_plan + log_mass[:, None, None])
    active = torch.ones_like(mass_a, dtype=torch.bool)
    iterations = torch.zeros_like(mass_a, dtype=torch.int64)
    for _ in range(settings.max_outer):
        p = exponential(shape.log_plan)
        edge_cost = _edge_cost(problem, p) if settings.edge_weight > 0 else None
        new_log_mass = log_mass
        if not is_fixed:
            new_log_mass = _mass_step(log_mass, *_ray(problem, settings, p, edge_cost))
        node_weight = (1 - settings.edge_weight) * (-new_log_mass).exp()
        cost = problem.node_cost * node_weight[:, None, None]
        if edge_cost is not None:
            cost = cost + 2 * settings.edge_weight * edge_cost
        base = shape.log_plan.masked_fill(~inside, 0) if settings.proximal else log_reference
        kernel = base - cost / settings.epsilon
        new = _scale(kernel, problem, settings, shape.psi, new_log_mass.exp())
        empty, falling = new_log_mass < lowest, new_log_mass < log_mass - _LARGEST_MASS_STEP / 2
        new_plan = exponential(new.log_plan + new_log_mass[:, None, None])
        new_plan = new_plan.masked_fill(empty[:, None, None], 0)
        new = new._replace(error=new.error.masked_fill(empty, 0))
        change = (new_plan - plan).detach().abs().sum((1, 2))
        # Items that have stopped are computed with the others, and the result is discarded.
        plan, log_mass, *parts = select(
            active, (new_plan, new_log_mass, *new), (plan, log_mass, *shape)
        )
        shape = _Shape(*parts)
        iterations = iterations + active
        moving = (change > settings.tolerance) | (new.error > settings.marginal_tolerance)
        active = active & (moving | falling) & ~empty
        if stops_early(a) and not bool(active.any()):
            break
    return Solution(plan.contiguous(), shape.error, iterations)


def _log(marginal: Tensor) -> Tensor:
    """Logarithm, and 0 where there is no mass."""
    return marginal.masked_fill(marginal == 0, 1).log()


def _edge_cost(problem: Problem, p: Tensor) -> Tensor:
    """L(p), (N, T, L)."""
    edges_a, edges_b = problem.edges
    product = edges_a.product(edges_b.product(p).transpose(1, 2)).transpose(1, 2)
    rows = edges_a.square_product(p.sum(2)).unsqueeze(2)
    return rows + edges_b.square_product(p.sum(1)).unsqueeze(1) - 2 * product


def _ray(
    problem: Problem, settings: Settings, p: Tensor, edge_cost: Tensor | None
) -> tuple[Tensor, Tensor, float]:
    """A, B and S of the objective along the ray through p; both marginals are relaxed."""
    a, b = problem.marginal_a, problem.marginal_b
    assert settings.reach_a is not None and settings.reach_b is not None
    strength = settings.reach_a + settings.reach_b
    quadratic = settings.reach_a * relative_entropy(p.sum(2), a)
    quadratic = quadratic + settings.reach_b * relative_entropy(p.sum(1), b)
    if not settings.proximal:
        strength = strength + settings.epsilon
        quadratic = quadratic + settings.epsilon * relative_entropy(p, a, b)
    linear = (1 - settings.edge_weight) * (problem.node_cost * p).sum((1, 2))
    if edge_cost is not None:
        quadratic = quadratic + settings.edge_weight * (edge_cost * p).sum((1, 2))
    return linear, quadratic, strength


def _mass_step(log_mass: Tensor, linear: Tensor, quadratic: Tensor, strength: float) -> Tensor:
    """Newton step towards dF/dm = 0, downhill where there is no minimum.

    dF/dm = 2 m slope(log m). A small mass has negative curvature; there the minimum is at mass 0
    unless the slope is negative.
    """
    half = linear / 2 * (-log_mass).exp()
    slope = quadratic + half + strength * log_mass
    curvature = (strength - half).abs().clamp_min(1e-6 * strength)
    return log_mass - (slope / curvature).clamp(-_LARGEST_MASS_STEP, _LARGEST_MASS_STEP)


def _scale(
    kernel: Tensor, problem: Problem, settings: Settings, psi: Tensor, mass: Tensor
) -> _Shape:
    """Minimiser of the inner problem, of mass 1; its error is for ``mass`` (N,). Log domain."""
    a, b = problem.marginal_a, problem.marginal_b
    power_a, power_b = settings.powers
    log_a, log_b = a.log(), b.log()
    phi = torch.zeros_like(a)
    rows = (kernel + psi.unsqueeze(1)).logsumexp(2)
    error = torch.full_like(mass, float("inf"))
    active = torch.ones_like(mass, dtype=torch.bool)
    for _ in range(settings.max_inner):
        new_phi = (log_a - rows) * power_a
        new_psi = (log_b - (kernel + new_phi.unsqueeze(2)).logsumexp(1)) * power_b
        new_rows = (kernel + new_psi.unsqueeze(1)).logsumexp(2)
        # Columns are optimal up to the mass; the optimal rows are a exp(-f / reach).
        absorbed = new_phi.masked_fill(a == 0, 0) * ((1 - power_a) / power_a)
        found, asked = torch.softmax(new_phi + new_rows, 1), torch.softmax(log_a - absorbed, 1)
        new_error = (mass * (found - asked).abs().sum(1)).detach()
        phi, psi, rows, error = select(
            active, (new_phi, new_psi, new_rows, new_error), (phi, psi, rows, error)
        )
        active = active & (error > settings.marginal_tolerance)
        if stops_early(a) and not bool(active.any()):
            break
    # Of mass 1 even where costs over epsilon exceed the precision of the exponents.
    log_plan = (kernel + phi.unsqueeze(2) + psi.unsqueeze(1)).flatten(1).log_softmax(1)
    return _Shape(log_plan.view_as(kernel), psi, error)
