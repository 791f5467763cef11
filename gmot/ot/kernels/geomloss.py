"""GeomLoss's Sinkhorn for the inner problems (Feydy et al., arXiv 1810.08278), for comparison.

It is in the log domain and updates both potentials at once, each halfway (Feydy's thesis,
Algorithm 3.5). Where Sinkhorn is slow, four such updates are worth one iteration that scales rows,
then columns; an iteration here is four of them.

``SamplesLoss`` can hold its temperature at epsilon, so items do not depend on their batch, outer
steps start from the last potentials, and the plan is exact in the limit. The newer
``geomloss.ot.solve_batch`` (0.3.1) always anneals it from the range of costs in the batch, and its
plan lags by 1 / steps: for 37 x 14 random nodes at epsilon 0.05 it is 4e-3 (L1) off after 1000
steps, 6e-4 after 10000.
"""

import math

import torch
from torch import Tensor

from gmot.ot.problem import Problem, Settings
from gmot.ot.result import Solution
from gmot.ot.solver import Marginals, Scaling, edge_gain, row_potentials

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
    log_plan = torch.zeros_like(plan)  # up to terms of one index
    error = torch.zeros_like(a[:, 0])
    active = torch.ones_like(error, dtype=torch.bool)
    iterations = torch.zeros_like(error, dtype=torch.int64)
    for _ in range(settings.max_outer):
        kernel = problem.node_cost * ((settings.edge_weight - 1) / settings.epsilon)
        if settings.edge_weight > 0:
            edges_a, edges_b = problem.edges
            product = edges_a.multiply(plan.transpose(1, 2)).transpose(1, 2)
            kernel = kernel + edges_b.multiply(product) * edge_gain(problem, settings)
        if settings.proximal:
            kernel = kernel + log_plan
        new = _scale(kernel, inside, marginals, phi, psi, settings)
        if settings.max_outer == 1:
            plan, error, iterations = new.plan, new.error, new.iterations
            break
        change = (new.plan - plan).abs().sum((1, 2))
        plan = torch.where(active[:, None, None], new.plan, plan)
        phi = torch.where(active[:, None], new.phi, phi)
        psi = torch.where(active[:, None], new.psi, psi)
        error = torch.where(active, new.error, error)
        if settings.proximal:
            log_plan = (kernel + phi.unsqueeze(2) + psi.unsqueeze(1)).masked_fill(~inside, 0)
        iterations = iterations + active
        active = active & (
            (change > settings.tolerance) | (new.error > settings.marginal_tolerance)
        )
        if not bool(active.any()):
            break
    return Solution(plan.contiguous(), error, iterations)


def _scale(
    kernel: Tensor,
    inside: Tensor,
    marginals: Marginals,
    phi: Tensor,
    psi: Tensor,
    settings: Settings,
) -> Scaling:
    """Sinkhorn's iterations on ``kernel`` (N, T, L), from potentials over epsilon."""
    balanced = settings.is_balanced
    error = torch.full_like(phi[:, 0], math.inf)
    iterations = torch.zeros_like(error, dtype=torch.int64)
    state = Scaling(torch.zeros_like(kernel), phi, psi, error, iterations)
    running = torch.ones_like(error, dtype=torch.bool)
    done = 0
    while done < settings.max_inner and bool(running.any()):
        if balanced:
            phi, psi = state.phi, state.psi
            count = min(_BLOCK, settings.max_inner - done)
            done += count
        else:
            # The penalty is on the total potential: from the start again, and twice as far.
            phi, psi = torch.zeros_like(phi), torch.zeros_like(psi)
            count = done = min(max(_BLOCK, 2 * done), settings.max_inner)
        start = kernel + phi.unsqueeze(2) + psi.unsqueeze(1)
        more_phi, more_psi = _potentials(start, marginals, count)
        phi, psi = phi + more_phi, psi + more_psi
        plan = (kernel + phi.unsqueeze(2) + psi.unsqueeze(1)).exp().masked_fill(~inside, 0)
        error = marginals.error(plan.transpose(1, 2), phi, psi)
        state = Scaling(
            plan=torch.where(running[:, None, None], plan, state.plan),
            phi=torch.where(running[:, None], phi, state.phi),
            psi=torch.where(running[:, None], psi, state.psi),
            error=torch.where(running, error, state.error),
            iterations=state.iterations.masked_fill(running, done),
        )
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
