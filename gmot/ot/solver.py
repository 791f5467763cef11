"""Sinkhorn and fused Gromov-Wasserstein in plain torch: the reference of all backends.

One outer step solves, for edge weight w and the last plan P_old (GM-OT, arXiv 2505.13079, Eq. 13
and 14; G is the gradient of F of :func:`gmot.ot.fused_gromov_wasserstein`),

  min_P  <G, P> + epsilon sum P log P       over plans P with marginals a, b
  G = (1 - w) M - 4 w C1 P_old C2           up to terms of one index, which change no plan
      - epsilon log P_old                   if proximal

by Sinkhorn's iterations from the last potentials. Sinkhorn alone is w = 0 and one step.

The unit is epsilon: a kernel is -cost / epsilon, a potential phi is f / epsilon, and the plan is
exp(phi_i + psi_j + kernel_ij). Matrices are transposed, (N, L, T): CPUs are faster with the long
side last.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmot.ot.problem import Problem, Settings, stops_early
from gmot.ot.result import Solution

# The first of so many iterations is in the log domain, the others scale its exponential. A
# log-domain iteration leaves columns that sum to b_j and rows that sum to at least a_i * min(b),
# and Sinkhorn's steps never grow: ten of them stay in float32's range at any epsilon.
_BLOCK = 10
# exp(-80): smaller plan entries are zero; subnormal numbers are slow on CPUs.
LOWEST_EXPONENT = -80.0
# Bounds of divisions where there is no mass (padding, extreme marginals). What they cut is restored
# by the next block.
_LEAST_MASS = 1e-37
_SCALE_RANGE = (1e-30, 1e30)


def solve(problem: Problem, settings: Settings, psi: Tensor | None = None) -> Solution:
    """Outer loop of fused Gromov-Wasserstein; without host synchronisation on a GPU.

    Args:
      psi: (N, L) column potentials to start from, -inf on padding; None: 0.
    """
    a, b = problem.marginal_a, problem.marginal_b
    marginals = Marginals.make(problem, settings)
    inside = (b > 0).unsqueeze(2) & (a > 0).unsqueeze(1)
    plan = b.unsqueeze(2) * a.unsqueeze(1) / a.sum(1)[:, None, None]
    if psi is None:
        psi = torch.zeros_like(b).masked_fill(b == 0, -float("inf"))
    node_kernel = problem.node_cost.transpose(1, 2).contiguous() * (
        (settings.edge_weight - 1) / settings.epsilon
    )
    state = Scaling.start(plan, torch.zeros_like(a), psi)
    log_plan = torch.zeros_like(plan)  # up to terms of one index
    active = torch.ones_like(state.error, dtype=torch.bool)
    for _ in range(settings.max_outer):
        kernel = node_kernel
        if settings.edge_weight > 0:
            # 4 w C1 P C2 / epsilon, up to terms of one index; transposed as all others.
            edges_a, edges_b = problem.edges
            product = edges_b.multiply(state.plan.transpose(1, 2)).transpose(1, 2)
            kernel = kernel + edges_a.multiply(product) * edge_gain(problem, settings)
        if settings.proximal:
            # psi then holds the last step's increment, a good start for this one's.
            kernel = kernel + log_plan
        new = scale(kernel, marginals, state.psi, settings.max_inner, settings.marginal_tolerance)
        if settings.max_outer == 1:
            state = new
            break
        if settings.proximal:
            log_plan = kernel + new.phi.unsqueeze(1) + new.psi.unsqueeze(2)
            log_plan = log_plan.masked_fill(~inside, 0)
        state, active = outer_step(settings, active, new, state)
        if stops_early(a) and not bool(active.any()):
            break
    return Solution(state.plan.transpose(1, 2).contiguous(), state.error, state.iterations)


def edge_gain(problem: Problem, settings: Settings) -> float:
    """Factor of S1 P S2 in a kernel; 0 without edges."""
    if settings.edge_weight == 0:
        return 0.0
    edges_a, edges_b = problem.edges
    return edges_a.sign * edges_b.sign * 4 * settings.edge_weight / settings.epsilon


class Marginals(NamedTuple):
    """Marginals of the plan."""

    a: Tensor  # (N, T), zero on padding
    b: Tensor  # (N, L)
    log_a: Tensor  # -inf on padding
    log_b: Tensor
    power_a: float  # exponent reach / (reach + epsilon) of the scaling; 1: balanced
    power_b: float

    @classmethod
    def make(cls, problem: Problem, settings: Settings) -> "Marginals":
        a, b = problem.marginal_a, problem.marginal_b
        return cls(a, b, a.log(), b.log(), *settings.powers)

    @property
    def is_balanced(self) -> bool:
        return self.power_a == 1 and self.power_b == 1

    def swapped(self) -> "Marginals":
        """Rows and columns exchanged."""
        a, b, log_a, log_b, power_a, power_b = self
        return Marginals(b, a, log_b, log_a, power_b, power_a)

    def error(self, plan: Tensor, phi: Tensor, psi: Tensor) -> Tensor:
        """(N,) L1 distance of the marginals of a transposed plan to the optimal ones."""
        rows = plan.sum(1) - _optimal(self.a, phi, self.power_a)
        columns = plan.sum(2) - _optimal(self.b, psi, self.power_b)
        return rows.abs().sum(1) + columns.abs().sum(1)


class Scaling(NamedTuple):
    """State of Sinkhorn's algorithm."""

    plan: Tensor  # (N, L, T), transposed
    phi: Tensor  # (N, T) potential over epsilon, -inf on padding
    psi: Tensor  # (N, L)
    error: Tensor  # (N,) marginal error
    iterations: Tensor  # (N,) int64

    @staticmethod
    def start(plan: Tensor, phi: Tensor, psi: Tensor) -> "Scaling":
        """State before the first iteration."""
        error = torch.zeros_like(phi[:, 0])
        return Scaling(plan, phi, psi, error, torch.zeros_like(error, dtype=torch.int64))


def select(active: Tensor, new: Sequence[Tensor], old: Sequence[Tensor]) -> list[Tensor]:
    """``new`` where ``active`` (N,), else ``old``: items that have stopped keep their values."""
    return [torch.where(active.view(-1, *[1] * (x.dim() - 1)), x, y) for x, y in zip(new, old)]


def outer_step(
    settings: Settings, active: Tensor, new: Scaling, old: Scaling
) -> tuple[Scaling, Tensor]:
    """State after an outer step, and the items that are still active."""
    change = (new.plan - old.plan).detach().abs().sum((1, 2))
    moving = (change > settings.tolerance) | (new.error > settings.marginal_tolerance)
    state = Scaling(*select(active, new._replace(iterations=old.iterations + 1), old))
    return state, active & moving


def scale(
    kernel: Tensor, marginals: Marginals, psi: Tensor, max_iterations: int, tolerance: float
) -> Scaling:
    """Sinkhorn's iterations, each of which scales rows, then columns.

    ``kernel``: (N, L, T), -cost / epsilon, finite (padding included). ``psi``: (N, L), the start,
    -inf on padding. Items stop at the marginal error ``tolerance``.
    """
    state = _block(kernel, marginals, psi, min(_BLOCK, max_iterations))
    running = state.error > tolerance
    for done in range(_BLOCK, max_iterations, _BLOCK):
        if stops_early(kernel) and not bool(running.any()):
            break
        new = _block(kernel, marginals, state.psi, min(_BLOCK, max_iterations - done))
        new = new._replace(iterations=state.iterations + new.iterations)
        state = Scaling(*select(running, new, state))
        running = running & (state.error > tolerance)
    return state


def _block(kernel: Tensor, marginals: Marginals, psi: Tensor, count: int) -> Scaling:
    """``count`` iterations: one in the log domain, the others on its exponential.

    Unbalanced, all are in the log domain: far from the solution there is next to no mass, and
    potentials move by any number of orders of magnitude.
    """
    a, b = marginals.a, marginals.b
    for _ in range(1 if marginals.is_balanced else count):
        phi = row_potentials(kernel, marginals, psi)
        psi = column_potentials(kernel, marginals, phi)
    plan = exponential(kernel + phi.unsqueeze(1) + psi.unsqueeze(2))
    if marginals.is_balanced and count > 1:
        # A row vector times a contiguous matrix is the fast product.
        upright = plan.transpose(1, 2).contiguous()
        v = torch.ones_like(b)
        for _ in range(count - 1):
            u = _rescale(a, torch.bmm(v.unsqueeze(1), plan).squeeze(1))
            v = _rescale(b, torch.bmm(u.unsqueeze(1), upright).squeeze(1))
        plan = plan * u.unsqueeze(1) * v.unsqueeze(2)
        phi, psi = phi + u.log(), psi + v.log()
    iterations = torch.full_like(a[:, 0], count, dtype=torch.int64)
    return Scaling(plan, phi, psi, marginals.error(plan.detach(), phi, psi).detach(), iterations)


def exponential(exponent: Tensor) -> Tensor:
    """exp, and exactly 0 below the lowest exponent."""
    return torch.nn.functional.threshold(exponent, LOWEST_EXPONENT, -float("inf")).exp()


def row_potentials(kernel: Tensor, marginals: Marginals, psi: Tensor) -> Tensor:
    """phi (N, T): first half of an iteration, in the log domain."""
    phi = marginals.log_a - (kernel + psi.unsqueeze(2)).logsumexp(1)
    return phi if marginals.power_a == 1 else phi * marginals.power_a


def column_potentials(kernel: Tensor, marginals: Marginals, phi: Tensor) -> Tensor:
    """psi (N, L): second half of an iteration, in the log domain."""
    psi = marginals.log_b - (kernel + phi.unsqueeze(1)).logsumexp(2)
    return psi if marginals.power_b == 1 else psi * marginals.power_b


def _rescale(marginal: Tensor, mass: Tensor) -> Tensor:
    """Factor that brings ``mass`` to the marginal."""
    return (marginal / mass.clamp_min(_LEAST_MASS)).clamp(*_SCALE_RANGE)


def _optimal(marginal: Tensor, potential: Tensor, power: float) -> Tensor:
    """Marginal at the optimum: a, or a exp(-f / reach) under a KL penalty."""
    if power == 1:
        return marginal
    absorbed = potential.masked_fill(marginal == 0, 0)
    return marginal * (absorbed * ((power - 1) / power)).exp()
