"""Newton's method on the semi-dual of entropic transport: start potentials for Sinkhorn.

In units of epsilon, with the kernel K = -cost / epsilon and the plan P_ik = exp(phi_i + psi_k +
K_ik), the row potentials that maximise the dual at given psi have a closed form (one half of
Sinkhorn's iteration). What remains is concave in psi:

  gradient  b exp(-psi / r_b) - P^T 1
  Hessian   -(p_a Lap + diag((1 - p_a) P^T 1 + b exp(-psi / r_b) / r_b)),
            Lap = diag(P^T 1) - P^T diag(P 1)^-1 P

with p = reach / (reach + epsilon) and r = reach / epsilon (balanced: p = 1, 1 / r = 0).

Sinkhorn's algorithm needs thousands of iterations where a strong positional cost couples tokens
with their neighbours only (TOT, arXiv 2409.02239). Newton's method needs 4 to 25 steps, each at the
price of about L / 2 iterations of Sinkhorn. Costs are scaled down per item until the kernel is
nearly flat, then doubled up to the full problem; a step that lowers the dual is cut to a quarter.
There is no host synchronisation on a GPU; on a CPU the loop ends when all items have converged.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gmot.ot.backends.reference import Marginals, column_potentials, row_potentials
from gmot.ot.task import Task

# Largest exponent of the first scale.
_FIRST_EXPONENT = 50.0
# The scale is doubled where the gradient (L1) is below this part of the mass.
_FOLLOWED = 0.5
# Levenberg-Marquardt terms: in parts of the gradient, and of the marginal for tokens that share no
# frames.
_DAMPING, _LEAST_DAMPING = 1e-2, 1e-9
# Relative rounding error of the dual.
_ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-14}


class _Dual(NamedTuple):
    """Value (N, 1) of the semi-dual, L1 norm (N, 1) of its gradient, and Newton step (N, L)."""

    value: Tensor
    error: Tensor
    step: Tensor


def newton_start(task: Task, max_steps: int) -> Tensor:
    """(N, L) potentials of a task without edges, solved to its marginal tolerance where possible.

    Args:
      task: with ``alpha`` 0.
      max_steps: evaluations of the semi-dual at most.
    """
    kernel = task.node_cost.transpose(1, 2).contiguous() * (-1 / task.epsilon)
    with torch.no_grad():
        return newton_potentials(kernel, Marginals.make(task), max_steps, task.marginal_tolerance)


def newton_potentials(
    kernel: Tensor, marginals: Marginals, max_steps: int, tolerance: float
) -> Tensor:
    """Column potentials close to those of the solution.

    Args:
      kernel: (N, L, T), -cost / epsilon, finite (padding included).
      marginals: of the plan.
      max_steps: evaluations of the semi-dual at most.
      tolerance: gradient (L1) at which an item has converged.
    Returns:
      (N, L) psi in units of epsilon, -inf on padding.
    """
    if kernel.size(1) > kernel.size(2):  # the Hessian is that of the shorter side
        swapped = kernel.transpose(1, 2).contiguous()
        phi = newton_potentials(swapped, marginals.swapped(), max_steps, tolerance)
        return column_potentials(kernel, marginals, phi)
    b = marginals.b
    mass = b.sum(1, keepdim=True)
    scale = (_FIRST_EXPONENT / _largest_exponent(kernel, marginals)).clamp(max=1).unsqueeze(1)
    psi, step = torch.zeros_like(b), torch.zeros_like(b)
    length = torch.ones_like(mass)
    value = torch.full_like(mass, -float("inf"))
    for _ in range(max_steps):
        trial = psi + length * step
        dual = _evaluate(scale.unsqueeze(2) * kernel, marginals, trial)
        # A value that is not a number is no ascent either.
        ascends = dual.value >= value - _ROUNDING[b.dtype] * dual.value.abs()
        psi, step = torch.where(ascends, trial, psi), torch.where(ascends, dual.step, step)
        value = torch.where(ascends, dual.value, value)
        solved = ascends & (dual.error <= tolerance) & (scale == 1)
        # Solved items stay where they are: no item depends on its batch.
        length = torch.where(ascends, (~solved).to(length), length / 4)
        if kernel.device.type == "cpu" and bool(solved.all()):
            break
        grows = ascends & (dual.error < _FOLLOWED * mass) & (scale < 1)
        growth = torch.where(grows, (2 * scale).clamp(max=1) / scale, torch.ones_like(scale))
        scale, psi, step = scale * growth, psi * growth, step * growth
        value = value.masked_fill(grows, -float("inf"))
    return (psi / scale).masked_fill(b == 0, -float("inf"))


def _largest_exponent(kernel: Tensor, marginals: Marginals) -> Tensor:
    """(N,) Largest range of a row's exponents; unbalanced: largest absolute exponent."""
    inside = (marginals.b > 0).unsqueeze(2) & (marginals.a > 0).unsqueeze(1)
    if not marginals.is_balanced:
        return kernel.abs().masked_fill(~inside, 0).amax((1, 2))
    most = kernel.masked_fill(~inside, -float("inf")).amax(1)
    least = kernel.masked_fill(~inside, float("inf")).amin(1)
    return (most - least).amax(1)  # rows without weight: -inf


def _evaluate(kernel: Tensor, marginals: Marginals, psi: Tensor) -> _Dual:
    a, b, _, log_b, power_a, power_b = marginals
    inside = (b > 0).unsqueeze(2) & (a > 0).unsqueeze(1)
    masked = psi.masked_fill(b == 0, -float("inf"))
    phi = row_potentials(kernel, marginals, masked)
    plan = (kernel + phi.unsqueeze(1) + masked.unsqueeze(2)).exp().masked_fill(~inside, 0)
    rows, columns = plan.sum(1), plan.sum(2)
    stiffness = (1 - power_b) / power_b  # 1 / r_b
    goal = b if power_b == 1 else b * (-stiffness * psi).exp()
    gradient = goal - columns

    # The Laplacian from its off-diagonal: accurate even where tokens hardly share frames.
    conditional = plan / rows.masked_fill(rows == 0, 1).unsqueeze(1)
    shared = torch.bmm(plan, conditional.transpose(1, 2)).double()
    shared = shared - torch.diag_embed(shared.diagonal(dim1=1, dim2=2))
    unit = b.double().amax(1, keepdim=True)
    diagonal = power_a * shared.sum(2) + (1 - power_a) * columns + stiffness * goal
    diagonal = diagonal + _DAMPING * gradient.abs() + _LEAST_DAMPING * unit
    diagonal = torch.where(b > 0, diagonal, unit)
    hessian = torch.diag_embed(diagonal) - power_a * shared
    if marginals.is_balanced:  # a constant in psi changes nothing
        present = (b > 0).to(unit)
        constant = unit.unsqueeze(2) / present.sum(1)[:, None, None]
        hessian = hessian + constant * present.unsqueeze(2) * present.unsqueeze(1)
    factor, failed = torch.linalg.cholesky_ex(hessian)
    right = gradient.double().masked_fill(b == 0, 0).unsqueeze(2)
    step = torch.cholesky_solve(right, factor).squeeze(2)
    step = torch.where((failed == 0).unsqueeze(1), step, right.squeeze(2) / diagonal)

    # sum_i r_a a_i (1 - exp(-phi_i / r_a)), where a exp(-phi / r_a) are the row sums; likewise b.
    # Balanced: the limits <a, phi> and <b, psi>. Constants are left out.
    if power_b == 1:
        dual = (b * psi).double().sum(1)
    else:
        dual = -goal.double().sum(1) / stiffness
    if power_a == 1:
        dual = dual + (a * phi.masked_fill(a == 0, 0)).double().sum(1)
    else:
        dual = dual - rows.double().sum(1) / (1 - power_a)
    return _Dual(dual.unsqueeze(1), gradient.abs().sum(1, keepdim=True), step.to(b.dtype))
