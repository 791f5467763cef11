"""Entropic transport, balanced and unbalanced, by Sinkhorn's algorithm.

Inside, everything is in units of epsilon: a kernel is ``-cost / epsilon``, a potential phi is
f / epsilon, and the plan is exp(phi_i + psi_j + kernel_ij). And it is transposed, (N, L, T): CPUs
want the long side last.
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from gmot.ot.problem import (
    BACKENDS,
    PLAN_GRADIENTS,
    check_choice,
    check_iterations,
    check_positive,
    check_tolerance,
    make_problem,
    no_autocast,
)
from gmot.ot.result import TransportResult

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
    power_a: float = 1.0
    power_b: float = 1.0

    @classmethod
    def make(
        cls,
        a: Tensor,
        b: Tensor,
        epsilon: float = 1.0,
        reach_a: Optional[float] = None,
        reach_b: Optional[float] = None,
    ) -> "Marginals":
        power_a, power_b = (
            1.0 if reach is None else reach / (reach + epsilon) for reach in (reach_a, reach_b)
        )
        return cls(a, b, a.log(), b.log(), power_a, power_b)

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
    """``count`` iterations: one in the log domain, the others on its exponential."""
    a, b, log_a, log_b, power_a, power_b = marginals
    phi = _weighted(log_a - (kernel + psi.unsqueeze(2)).logsumexp(1), power_a)
    kernel = kernel + phi.unsqueeze(1)
    psi = _weighted(log_b - kernel.logsumexp(2), power_b)
    exponent = kernel + psi.unsqueeze(2)
    plan = torch.nn.functional.threshold(exponent, _LOWEST_EXPONENT, -float("inf")).exp()
    if count > 1:
        # A row vector times a contiguous matrix is the product that is fast.
        upright = plan.transpose(1, 2).contiguous()
        v = torch.ones_like(b)
        for _ in range(count - 1):
            u = _rescale(a, torch.bmm(v.unsqueeze(1), plan).squeeze(1), phi, power_a)
            v = _rescale(b, torch.bmm(u.unsqueeze(1), upright).squeeze(1), psi, power_b)
        plan = plan * u.unsqueeze(1) * v.unsqueeze(2)
        phi, psi = phi + u.log(), psi + v.log()
    iterations = torch.full_like(a[:, 0], count, dtype=torch.int64)
    return Scaling(plan, phi, psi, marginals.error(plan.detach(), phi, psi).detach(), iterations)


def _weighted(potential: Tensor, power: float) -> Tensor:
    return potential if power == 1 else potential * power


def _rescale(weights: Tensor, mass: Tensor, potential: Tensor, power: float) -> Tensor:
    """The factor on top of ``potential`` that Sinkhorn's update asks for."""
    factor = (weights / mass.clamp_min(_LEAST_MASS)).clamp(*_SCALE_RANGE)
    if power != 1:
        # (a / (K v))^power, where exp(potential) has been absorbed by K.
        absorbed = potential.masked_fill(weights == 0, 0)
        factor = factor**power * (-(1 - power) * absorbed).exp()
    return factor


def _optimal(weights: Tensor, potential: Tensor, power: float) -> Tensor:
    """The marginal at the optimum: a, or a exp(-f / lambda) under a KL penalty."""
    if power == 1:
        return weights
    absorbed = potential.masked_fill(weights == 0, 0)
    return weights * (absorbed * ((power - 1) / power)).exp()


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
      plan_gradient: "detach", or "unroll": the plan is differentiable through the
        iterations. The gradient of ``value`` is the envelope gradient in both.
      backend: "auto" or "torch".
    Returns:
      A TransportResult of torch tensors; ``edge`` is zero.
    Raises:
      ValueError: naming the argument and the item.
    """
    check_choice(backend, "backend", BACKENDS)
    check_choice(plan_gradient, "plan_gradient", PLAN_GRADIENTS)
    check_positive(epsilon, "epsilon")
    check_iterations(max_iterations, "max_iterations")
    check_tolerance(tolerance)
    for name, reach in (("reach_a", reach_a), ("reach_b", reach_b)):
        if reach is not None:
            check_positive(reach, name)
    balanced = reach_a is None and reach_b is None
    problem = make_problem(
        cost,
        weights_a=weights_a,
        weights_b=weights_b,
        lengths_a=lengths_a,
        lengths_b=lengths_b,
        cost_name="cost",
        balanced=balanced,
    )
    a, b = problem.weights_a, problem.weights_b
    with no_autocast(a.device):
        unroll = plan_gradient == "unroll" and torch.is_grad_enabled()
        with torch.set_grad_enabled(unroll):
            marginals = Marginals.make(a, b, epsilon, reach_a, reach_b)
            state = scale(
                problem.node_cost.transpose(1, 2).contiguous() / -epsilon,
                marginals,
                marginals.start(),
                max_iterations,
                tolerance,
            )
        plan = state.plan.transpose(1, 2).contiguous()
        held = plan.detach()
        node = (problem.node_cost * held).sum((1, 2))
        entropy = torch.xlogy(held, held).sum((1, 2))
        penalty = torch.zeros_like(entropy)
        if not balanced:
            entropy = entropy - held.sum((1, 2)) + a.sum(1)
        if reach_a is not None:
            penalty = penalty + reach_a * _divergence(held.sum(2), a)
        if reach_b is not None:
            penalty = penalty + reach_b * _divergence(held.sum(1), b)
    result = TransportResult(
        plan=plan,
        value=node + epsilon * entropy + penalty,
        node=node,
        edge=torch.zeros_like(node),
        entropy=entropy,
        marginal_error=state.error,
        iterations=state.iterations,
    )
    return result.unbatched() if problem.single else result


def _divergence(x: Tensor, y: Tensor) -> Tensor:
    """(N,) KL(x || y) of measures; x is zero where y is."""
    ratio = x / y.masked_fill(y == 0, 1)
    return (torch.xlogy(x, ratio) - x + y).sum(1)
