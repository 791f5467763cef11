"""Newton's method on the semi-dual of entropic transport: start potentials for Sinkhorn.

In units of epsilon, with the kernel K = -cost / epsilon and the plan P_ik = exp(phi_i + psi_k +
K_ik), the row potentials that maximise the dual for given psi have a closed form (one half of a
Sinkhorn iteration). The remaining function is concave in psi:

  gradient  b exp(-psi / r_b) - P^T 1
  Hessian   -(p_a Lap + diag((1 - p_a) P^T 1 + b exp(-psi / r_b) / r_b)),
            Lap = diag(P^T 1) - P^T diag(P 1)^-1 P

with p = reach / (reach + epsilon) and r = reach / epsilon (balanced: p = 1, 1 / r = 0).

Sinkhorn needs thousands of iterations where a strong positional cost couples columns with their
neighbours only (TOT, arXiv 2409.02239). Newton needs 4 to 25 steps, each worth about L / 2
iterations. Costs are scaled down per item until the kernel is nearly flat, then doubled up to the
full problem; a step that lowers the dual is cut to a quarter. There is no host synchronisation on a
GPU; a CPU stops when all items have converged.
"""

import torch
from torch import Tensor

from gmot.ot.problem import Problem, Settings, stops_early
from gmot.ot.solver import Marginals, column_potentials, row_potentials

# Largest exponent of the first scale.
_FIRST_EXPONENT = 50.0
# The scale is doubled where the gradient (L1) is below this fraction of the mass.
_FOLLOWED = 0.5
# Levenberg-Marquardt terms, relative to the gradient; and to the marginal, for columns that share
# no rows.
_DAMPING, _LEAST_DAMPING = 1e-2, 1e-9
# Relative rounding error of the dual.
_ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-14}


def newton_start(problem: Problem, settings: Settings, max_steps: int) -> Tensor:
    """Column potentials (N, L) of a problem without edges."""
    kernel = problem.node_cost.transpose(1, 2).contiguous() * (-1 / settings.epsilon)
    marginals = Marginals.make(problem, settings)
    with torch.no_grad():
        return newton_potentials(kernel, marginals, max_steps, settings.marginal_tolerance)


def newton_potentials(
    kernel: Tensor, marginals: Marginals, max_steps: int, tolerance: float
) -> Tensor:
    """Column potentials (N, L) near the solution, in units of epsilon, -inf on padding.

    Args:
      kernel: (N, L, T), -cost / epsilon, finite (padding included).
      max_steps: evaluations of the semi-dual, at most.
      tolerance: gradient (L1) at which an item has converged.
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
        new_value, error, new_step = _evaluate(scale.unsqueeze(2) * kernel, marginals, trial)
        # False for NaN.
        ascends = new_value >= value - _ROUNDING[b.dtype] * new_value.abs()
        psi, step = torch.where(ascends, trial, psi), torch.where(ascends, new_step, step)
        value = torch.where(ascends, new_value, value)
        solved = ascends & (error <= tolerance) & (scale == 1)
        # Solved items do not move: no item depends on its batch.
        length = torch.where(ascends, (~solved).to(length), length / 4)
        if stops_early(kernel) and bool(solved.all()):
            break
        grows = ascends & (error < _FOLLOWED * mass) & (scale < 1)
        growth = torch.where(grows, (2 * scale).clamp(max=1) / scale, torch.ones_like(scale))
        scale, psi, step = scale * growth, psi * growth, step * growth
        value = value.masked_fill(grows, -float("inf"))
    return (psi / scale).masked_fill(b == 0, -float("inf"))


def _largest_exponent(kernel: Tensor, marginals: Marginals) -> Tensor:
    """(N,) largest range of a row's exponents; unbalanced: largest absolute exponent."""
    inside = (marginals.b > 0).unsqueeze(2) & (marginals.a > 0).unsqueeze(1)
    if not marginals.is_balanced:
        return kernel.abs().masked_fill(~inside, 0).amax((1, 2))
    most = kernel.masked_fill(~inside, -float("inf")).amax(1)
    least = kernel.masked_fill(~inside, float("inf")).amin(1)
    return (most - least).amax(1)  # rows without mass: -inf


def _evaluate(kernel: Tensor, marginals: Marginals, psi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value (N, 1) of the semi-dual, L1 norm (N, 1) of its gradient, and Newton step (N, L)."""
    a, b, _, _, power_a, power_b = marginals
    inside = (b > 0).unsqueeze(2) & (a > 0).unsqueeze(1)
    masked = psi.masked_fill(b == 0, -float("inf"))
    phi = row_potentials(kernel, marginals, masked)
    plan = (kernel + phi.unsqueeze(1) + masked.unsqueeze(2)).exp().masked_fill(~inside, 0)
    rows, columns = plan.sum(1), plan.sum(2)
    stiffness = (1 - power_b) / power_b  # 1 / r_b
    goal = b if power_b == 1 else b * (-stiffness * psi).exp()
    gradient = goal - columns
    step = _newton_step(marginals, plan, goal, gradient)

    # sum_i r_a a_i (1 - exp(-phi_i / r_a)), where a exp(-phi / r_a) are the row sums; b alike.
    # Balanced: the limits <a, phi> and <b, psi>. Constants are left out.
    dual = (b * psi).double().sum(1) if power_b == 1 else -goal.double().sum(1) / stiffness
    if power_a == 1:
        dual = dual + (a * phi.masked_fill(a == 0, 0)).double().sum(1)
    else:
        dual = dual - rows.double().sum(1) / (1 - power_a)
    return dual.unsqueeze(1), gradient.abs().sum(1, keepdim=True), step.to(b.dtype)


def _newton_step(marginals: Marginals, plan: Tensor, goal: Tensor, gradient: Tensor) -> Tensor:
    """(N, L) damped Newton step, float64."""
    b, power_a, power_b = marginals.b, marginals.power_a, marginals.power_b
    rows, columns = plan.sum(1), plan.sum(2)
    # The Laplacian from its off-diagonal: accurate even where columns hardly share rows.
    conditional = plan / rows.masked_fill(rows == 0, 1).unsqueeze(1)
    shared = torch.bmm(plan, conditional.transpose(1, 2)).double()
    shared = shared - torch.diag_embed(shared.diagonal(dim1=1, dim2=2))
    unit = b.double().amax(1, keepdim=True)
    stiffness = (1 - power_b) / power_b
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
    step = cholesky_solve(factor, right).squeeze(2)
    return torch.where((failed == 0).unsqueeze(1), step, right.squeeze(2) / diagonal)


def cholesky_solve(factor: Tensor, right: Tensor) -> Tensor:
    """Solution of L L^T x = ``right`` (N, L, K) for the Cholesky factor L (N, L, L).

    torch.cholesky_solve may wait for a GPU (it takes MAGMA's solver there).
    """
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    return torch.linalg.solve_triangular(factor.transpose(1, 2), half, upper=True)
