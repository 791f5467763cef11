"""GeomLoss's Sinkhorn for the inner problems (Feydy et al., arXiv 1810.08278), for comparison.

It is in the log domain and updates both potentials at once, each halfway (Feydy's thesis,
Algorithm 3.5). Where Sinkhorn is slow, four such updates are worth one iteration that scales rows,
then columns; an iteration here is four of them.

``SamplesLoss`` can hold its temperature at epsilon, so items do not depend on their batch, outer
steps start from the last potentials, and the plan is exact in the limit. The newer
``geomloss.ot.solve_batch`` (0.3.1) always anneals it from the range of costs in the batch, and its
plan lags by 1 / steps (for 37 x 14 random nodes at epsilon 0.05, 4e-3 in L1 after 1000).
"""

import math

import torch
from torch import Tensor

from gmot.ot.problem import Problem, Settings
from gmot.ot.result import Solution
from gmot.ot.solver import Marginals, Scaling, edge_gain, outer_step, row_potentials, select

_UPDATES = 4  # of GeomLoss per iteration
_BLOCK = 10  # iterations between checks of the marginal error
# Its temperature has to fall: per update by so little that it has no effect, and not to zero.
_COOLING = 1e-12


def missing(problem: Problem, settings: Settings) -> str | None:
    """Reason why the backend cannot solve ``problem``, or None."""
    power_a, power_b = settings.powers
    if power_a != power_b:
        return "it has no unbalanced transport with two different reaches"
    return None


def solve(problem: Problem, settings: Settings, psi: Tensor | None = None) -> Solution:
    """See :func:`gmot.ot.solver.solve`. Synchronises with the device after every block."""
    a, b = problem.marginal_a, problem.marginal_b
    marginals = Marginals.make(problem, settings)
    inside = (a > 0).unsqueeze(2) & (b > 0).unsqueeze(1)
    plan = a.unsqueeze(2) * b.unsqueeze(1) / a.sum(1)[:, None, None]
    phi = torch.zeros_like(a)
    if psi is None:
        psi = torch.zeros_like(b)
    else:
        kernel = problem.node_cost.transpose(1, 2) * (-1 / settings.epsilon)
        phi = row_potentials(kernel, marginals, psi).masked_fill(a == 0, 0)
        psi = psi.masked_fill(b == 0, 0)
    state = Scaling.start(plan, phi, psi)
    log_plan = torch.zeros_like(plan)  # up to terms of one index
    active = torch.ones_like(state.error, dtype=torch.bool)
    for _ in range(settings.max_outer):
        kernel = problem.node_cost * ((settings.edge_weight - 1) / settings.epsilon)
        if settings.edge_weight > 0:
            edges_a, edges_b = problem.edges
            product = edges_a.multiply(state.plan.transpose(1, 2)).transpose(1, 2)
            kernel = kernel + edges_b.multiply(product) * edge_gain(problem, settings)
        if settings.proximal:
            kernel = kernel + log_plan
        new = _scale(kernel, inside, marginals, state, settings)
        if settings.max_outer == 1:
            state = new
            break
        state, active = outer_step(settings, active, new, state)
        if settings.proximal:
            log_plan = kernel + state.phi.unsqueeze(2) + state.psi.unsqueeze(1)
            log_plan = log_plan.masked_fill(~inside, 0)
        if not bool(active.any()):
            break
    return Solution(state.plan.contiguous(), state.error, state.iterations)


def _scale(
    kernel: Tensor, inside: Tensor, marginals: Marginals, start: Scaling, settings: Settings
) -> Scaling:
    """Sinkhorn's iterations on ``kernel`` (N, T, L), from the potentials of ``start``."""
    state = Scaling.start(torch.zeros_like(kernel), start.phi, start.psi)
    running = torch.ones_like(state.error, dtype=torch.bool)
    done = 0
    while done < settings.max_inner and bool(running.any()):
        if settings.is_balanced:
            phi, psi = state.phi, state.psi
            count = min(_BLOCK, settings.max_inner - done)
            done += count
        else:
            # The penalty is on the total potential: from the start again, and twice as far.
            phi, psi = torch.zeros_like(start.phi), torch.zeros_like(start.psi)
            count = done = min(max(_BLOCK, 2 * done), settings.max_inner)
        scaled = kernel + phi.unsqueeze(2) + psi.unsqueeze(1)
        more_phi, more_psi = _potentials(scaled, marginals, count)
        phi, psi = phi + more_phi, psi + more_psi
        plan = (kernel + phi.unsqueeze(2) + psi.unsqueeze(1)).exp().masked_fill(~inside, 0)
        error = marginals.error(plan.transpose(1, 2), phi, psi)
        new = Scaling(plan, phi, psi, error, torch.full_like(state.iterations, done))
        state = Scaling(*select(running, new, state))
        running = running & (state.error > settings.marginal_tolerance)
    return state


def _potentials(kernel: Tensor, marginals: Marginals, count: int) -> tuple[Tensor, Tensor]:
    """phi (N, T), psi (N, L) of the plan exp(kernel + phi + psi), ``count`` iterations from 0.

    GeomLoss's plan is a b^T exp(phi + psi - cost) (its entropy is relative to a b^T); the cost is
    adapted to it.
    """
    from geomloss import SamplesLoss

    # All updates but two lower the temperature.
    heat = _COOLING * (_UPDATES * count - 2.5)
    solver = SamplesLoss(
        "sinkhorn",
        p=1,
        blur=1.0,  # temperature, in units of epsilon
        diameter=math.exp(heat),
        scaling=math.exp(-_COOLING),
        reach=None if marginals.power_a == 1 else marginals.power_a / (1 - marginals.power_a),
        # A row node is its row of costs, a column node a unit vector.
        cost=lambda x, y: torch.bmm(x, y.transpose(1, 2)),
        debias=False,
        potentials=True,
        backend="tensorized",
    )
    log_a, log_b = (x.masked_fill(x.isinf(), 0) for x in (marginals.log_a, marginals.log_b))
    cost = log_a.unsqueeze(2) + log_b.unsqueeze(1) - kernel
    columns = torch.eye(cost.size(2), dtype=cost.dtype, device=cost.device)
    with torch.no_grad():  # restored on exit: GeomLoss switches gradients on
        return solver(marginals.a, cost, marginals.b, columns.expand(len(cost), -1, -1))
