"""The reference: every solver of gmot.ot in plain torch, on any device, differentiable.

Inside, everything is in units of epsilon: a kernel is ``-cost / epsilon``, a potential phi is
f / epsilon, and the plan is exp(phi_i + psi_j + kernel_ij). And it is transposed, (N, L, T): CPUs
want the long side last.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from gmot.ot.task import Solution, Task

# Of every so many iterations the first is in the log domain, the others scale its exponential.
# One log-domain iteration leaves columns that sum to b_j and rows that sum to at least
# a_i * min(b), and Sinkhorn's steps never grow: in ten of them nothing leaves float32's range,
# however small epsilon is.
_BLOCK = 10
# exp(-80): below it an entry of the plan is nothing, and subnormal numbers make CPUs crawl.
_LOWEST_EXPONENT = -80.0
# Where there is no mass (padding, or weights of absurd range) division stays finite; the next
# block mends what these bounds cut.
_LEAST_MASS = 1e-37
_SCALE_RANGE = (1e-30, 1e30)


class Marginals(NamedTuple):
    """Weights and the exponents lambda / (lambda + eps) of the scaling (1: balanced).

    Attributes:
      a, b: (N, T), (N, L), zero on padding.
      log_a, log_b: their logarithms, -inf on padding.
      power_a, power_b: exponents.
    """

    a: Tensor
    b: Tensor
    log_a: Tensor
    log_b: Tensor
    power_a: float
    power_b: float

    @classmethod
    def make(cls, task: Task) -> "Marginals":
        a, b = task.weights_a, task.weights_b
        return cls(a, b, a.log(), b.log(), task.power_a, task.power_b)

    @property
    def is_balanced(self) -> bool:
        return self.power_a == 1 and self.power_b == 1

    def swapped(self) -> "Marginals":
        """Rows for columns."""
        a, b, log_a, log_b, power_a, power_b = self
        return Marginals(b, a, log_b, log_a, power_b, power_a)

    def start(self) -> Tensor:
        """(N, L) psi = 0, -inf on padding."""
        return torch.zeros_like(self.b).masked_fill(self.b == 0, -float("inf"))

    def error(self, plan: Tensor, phi: Tensor, psi: Tensor) -> Tensor:
        """(N,) L1 distance of the (transposed) plan's marginals to those that are optimal."""
        rows = plan.sum(1) - _optimal(self.a, phi, self.power_a)
        columns = plan.sum(2) - _optimal(self.b, psi, self.power_b)
        return rows.abs().sum(1) + columns.abs().sum(1)


class Scaling(NamedTuple):
    """Where Sinkhorn's algorithm stands.

    Attributes:
      plan: (N, L, T), transposed.
      phi, psi: (N, T), (N, L) potentials over epsilon, -inf on padding.
      error: (N,) marginal error.
      iterations: (N,) int64.
    """

    plan: Tensor
    phi: Tensor
    psi: Tensor
    error: Tensor
    iterations: Tensor


def scale(
    kernel: Tensor, marginals: Marginals, psi: Tensor, max_iterations: int, tolerance: float
) -> Scaling:
    """Sinkhorn's iterations, from the column potential ``psi``.

    Args:
      kernel: (N, L, T), -cost / epsilon, finite (padding included).
      marginals: of the plan.
      psi: (N, L), -inf on padding.
      max_iterations: an iteration scales rows, then columns.
      tolerance: an item stops when its marginal error is no more; then nothing
        of it changes while the others go on.
    """
    state = _block(kernel, marginals, psi, min(_BLOCK, max_iterations))
    running = state.error > tolerance
    for done in range(_BLOCK, max_iterations, _BLOCK):
        # Only on a CPU is asking cheap; a GPU would have to wait for the answer.
        if kernel.device.type == "cpu" and not bool(running.any()):
            break
        new = _block(kernel, marginals, state.psi, min(_BLOCK, max_iterations - done))
        state = Scaling(
            plan=torch.where(running[:, None, None], new.plan, state.plan),
            phi=torch.where(running[:, None], new.phi, state.phi),
            psi=torch.where(running[:, None], new.psi, state.psi),
            error=torch.where(running, new.error, state.error),
            iterations=state.iterations + running * new.iterations,
        )
        running = running & (state.error > tolerance)
    return state


def _block(kernel: Tensor, marginals: Marginals, psi: Tensor, count: int) -> Scaling:
    """``count`` iterations: one in the log domain, the others on its exponential.

    Unbalanced, all are in the log domain: potentials may have to move by any number of orders of
    magnitude, since a start far from the solution has next to no mass.
    """
    a, b = marginals.a, marginals.b
    for _ in range(1 if marginals.is_balanced else count):
        phi = row_potentials(kernel, marginals, psi)
        psi = column_potentials(kernel, marginals, phi)
    exponent = kernel + phi.unsqueeze(1) + psi.unsqueeze(2)
    plan = torch.nn.functional.threshold(exponent, _LOWEST_EXPONENT, -float("inf")).exp()
    if marginals.is_balanced and count > 1:
        # A row vector times a contiguous matrix is the product that is fast.
        upright = plan.transpose(1, 2).contiguous()
        v = torch.ones_like(b)
        for _ in range(count - 1):
            u = _rescale(a, torch.bmm(v.unsqueeze(1), plan).squeeze(1))
            v = _rescale(b, torch.bmm(u.unsqueeze(1), upright).squeeze(1))
        plan = plan * u.unsqueeze(1) * v.unsqueeze(2)
        phi, psi = phi + u.log(), psi + v.log()
    iterations = torch.full_like(a[:, 0], count, dtype=torch.int64)
    return Scaling(plan, phi, psi, marginals.error(plan.detach(), phi, psi).detach(), iterations)


def row_potentials(kernel: Tensor, marginals: Marginals, psi: Tensor) -> Tensor:
    """(N, T): first half of an iteration, in the log domain."""
    phi = marginals.log_a - (kernel + psi.unsqueeze(2)).logsumexp(1)
    return phi if marginals.power_a == 1 else phi * marginals.power_a


def column_potentials(kernel: Tensor, marginals: Marginals, phi: Tensor) -> Tensor:
    """(N, L): second half of an iteration, in the log domain."""
    psi = marginals.log_b - (kernel + phi.unsqueeze(1)).logsumexp(2)
    return psi if marginals.power_b == 1 else psi * marginals.power_b


def _rescale(weights: Tensor, mass: Tensor) -> Tensor:
    """The factor that brings ``mass`` to the weights."""
    return (weights / mass.clamp_min(_LEAST_MASS)).clamp(*_SCALE_RANGE)


def _optimal(weights: Tensor, potential: Tensor, power: float) -> Tensor:
    """The marginal at the optimum: a, or a exp(-f / lambda) under a KL penalty."""
    if power == 1:
        return weights
    absorbed = potential.masked_fill(weights == 0, 0)
    return weights * (absorbed * ((power - 1) / power)).exp()


def missing(task: Task) -> Optional[str]:
    """None: it solves every task."""
    return None


def solve(task: Task) -> Solution:
    """The outer loop. On a GPU it never waits for the host."""
    a, b = task.weights_a, task.weights_b
    marginals = Marginals.make(task)
    inside = (b > 0).unsqueeze(2) & (a > 0).unsqueeze(1)
    plan = b.unsqueeze(2) * a.unsqueeze(1) / a.sum(1)[:, None, None]
    psi = marginals.start() if task.psi is None else task.psi
    node_kernel = task.node_cost.transpose(1, 2).contiguous() * ((task.alpha - 1) / task.epsilon)
    log_plan = torch.zeros_like(plan)  # up to terms of one index: the potentials absorb those
    error = torch.zeros_like(a[:, 0])
    active = torch.ones_like(a[:, 0], dtype=torch.bool)
    iterations = torch.zeros_like(a[:, 0], dtype=torch.int64)
    for _ in range(task.max_outer):
        kernel = node_kernel
        if task.alpha > 0:
            # grad F = (1 - alpha) M - 4 alpha C1 P C2 + terms of one index.
            product = task.edges_b.product(plan.transpose(1, 2)).transpose(1, 2)
            product = task.edges_a.product(product)
            sign = task.edges_a.sign * task.edges_b.sign
            kernel = kernel + product * (sign * 4 * task.alpha / task.epsilon)
        if task.proximal:
            # The last step's increment of psi is a good guess of this one's.
            kernel = kernel + log_plan
        new = scale(kernel, marginals, psi, task.max_inner, task.marginal_tolerance)
        if task.max_outer == 1:
            plan, error, iterations = new.plan, new.error, new.iterations
            break
        with torch.no_grad():
            change = (new.plan - plan).abs().sum((1, 2))
            error = torch.where(active, new.error, error)
        # Frozen items are computed with the others, and the result is dropped.
        plan = torch.where(active[:, None, None], new.plan, plan)
        psi = torch.where(active[:, None], new.psi, psi)
        if task.proximal:
            log_plan = kernel + new.phi.unsqueeze(1) + new.psi.unsqueeze(2)
            log_plan = log_plan.masked_fill(~inside, 0)
        iterations = iterations + active
        active = active & ((change > task.tolerance) | (new.error > task.marginal_tolerance))
        if a.device.type == "cpu" and not bool(active.any()):
            break
    return Solution(plan.transpose(1, 2).contiguous(), error, iterations)
