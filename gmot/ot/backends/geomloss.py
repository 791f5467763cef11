"""GeomLoss's own Sinkhorn for the inner problems (Feydy et al., arXiv 1810.08278).

To compare with: it is in the log domain and moves both potentials at once, halfway to where each
would go (Feydy's thesis, Algorithm 3.5). Where Sinkhorn's algorithm is slow, four such updates go
as far as one iteration that scales rows, then columns; an iteration of a Task is four of them here.

``SamplesLoss`` lets its temperature be held at epsilon, so that items are independent of their
batch, outer steps start where the last ended, and the plan is exact in the limit. The newer
``geomloss.ot.solve_batch`` (0.3.1) always anneals it, from the range of costs in the batch, in as
many steps as it is given, and its plan follows behind by 1 / steps: for 37 x 14 random nodes at
epsilon 0.05 it is 4e-3 (L1) off after 1000 of them, and 6e-4 after 10000.
"""

import math
from typing import Optional, Tuple

import torch
from torch import Tensor

from gmot.ot.backends.reference import Marginals, Scaling, row_potentials
from gmot.ot.task import Solution, Task

_UPDATES = 4  # of GeomLoss in an iteration
_BLOCK = 10  # iterations between looks at the marginal error
# Its temperature has to fall: so little an update that nothing notices, and nothing rounds it away.
_COOLING = 1e-12


def missing(task: Task) -> Optional[str]:
    """None, or why it cannot solve ``task``."""
    if task.power_a != task.power_b:
        return "it has no unbalanced transport with two different reaches"
    return None


def solve(task: Task) -> Solution:
    """The outer loop of Task around GeomLoss. It waits for the device after every block."""
    a, b = task.weights_a, task.weights_b
    marginals = Marginals.make(task)
    inside = (a > 0).unsqueeze(2) & (b > 0).unsqueeze(1)
    plan = a.unsqueeze(2) * b.unsqueeze(1) / a.sum(1)[:, None, None]
    phi, psi = torch.zeros_like(a), torch.zeros_like(b)
    if task.psi is not None:
        kernel = task.node_cost.transpose(1, 2) * (-1 / task.epsilon)
        phi = row_potentials(kernel, marginals, task.psi).masked_fill(a == 0, 0)
        psi = task.psi.masked_fill(b == 0, 0)
    log_plan = torch.zeros_like(plan)  # up to terms of one index
    error = torch.zeros_like(a[:, 0])
    active = torch.ones_like(error, dtype=torch.bool)
    iterations = torch.zeros_like(error, dtype=torch.int64)
    for _ in range(task.max_outer):
        kernel = task.node_cost * ((task.alpha - 1) / task.epsilon)
        if task.alpha > 0:
            product = task.edges_a.product(plan.transpose(1, 2)).transpose(1, 2)
            sign = task.edges_a.sign * task.edges_b.sign
            kernel = kernel + task.edges_b.product(product) * (sign * 4 * task.alpha / task.epsilon)
        if task.proximal:
            kernel = kernel + log_plan
        new = _scale(kernel, inside, marginals, phi, psi, task)
        if task.max_outer == 1:
            plan, error, iterations = new.plan, new.error, new.iterations
            break
        change = (new.plan - plan).abs().sum((1, 2))
        plan = torch.where(active[:, None, None], new.plan, plan)
        phi = torch.where(active[:, None], new.phi, phi)
        psi = torch.where(active[:, None], new.psi, psi)
        error = torch.where(active, new.error, error)
        if task.proximal:
            log_plan = (kernel + phi.unsqueeze(2) + psi.unsqueeze(1)).masked_fill(~inside, 0)
        iterations = iterations + active
        active = active & ((change > task.tolerance) | (new.error > task.marginal_tolerance))
        if not bool(active.any()):
            break
    return Solution(plan.contiguous(), error, iterations)


def _scale(
    kernel: Tensor, inside: Tensor, marginals: Marginals, phi: Tensor, psi: Tensor, task: Task
) -> Scaling:
    """Sinkhorn's iterations on ``kernel`` (N, T, L), from potentials over epsilon."""
    balanced = task.power_a == 1
    error = torch.full_like(phi[:, 0], math.inf)
    iterations = torch.zeros_like(error, dtype=torch.int64)
    state = Scaling(torch.zeros_like(kernel), phi, psi, error, iterations)
    running = torch.ones_like(error, dtype=torch.bool)
    done = 0
    while done < task.max_inner and bool(running.any()):
        if balanced:
            phi, psi = state.phi, state.psi
            count = min(_BLOCK, task.max_inner - done)
            done += count
        else:
            # A penalty is on the whole potential: from its start again, and twice as far.
            phi, psi = torch.zeros_like(phi), torch.zeros_like(psi)
            count = done = min(max(_BLOCK, 2 * done), task.max_inner)
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
        running = running & (state.error > task.marginal_tolerance)
    return state


def _potentials(kernel: Tensor, marginals: Marginals, count: int) -> Tuple[Tensor, Tensor]:
    """(N, T), (N, L) that make exp(kernel + phi + psi) a plan, after ``count`` iterations from 0.

    GeomLoss's plan is a b^T exp(phi + psi - cost): its entropy is relative to a b^T, and the cost
    makes up for it.
    """
    from geomloss import SamplesLoss

    # All updates but two are steps of the temperature.
    heat = _COOLING * (_UPDATES * count - 2.5)
    solver = SamplesLoss(
        "sinkhorn",
        p=1,
        blur=1.0,  # the temperature, here in units of epsilon
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
    with torch.no_grad():  # on leaving it, too: GeomLoss switches gradients on
        return solver(marginals.a, cost, marginals.b, columns.expand(len(cost), -1, -1))
