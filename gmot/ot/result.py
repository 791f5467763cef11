"""What a transport solver gives back."""

from dataclasses import dataclass
from functools import cached_property
from typing import Callable, NamedTuple

import torch
from torch import Tensor

from gmot.ot.problem import no_autocast


class Objective(NamedTuple):
    """What a plan is worth, (N,) each; see TransportResult."""

    value: Tensor
    node: Tensor
    edge: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class TransportResult:
    """The plan of each item, its objective, and how well it was solved.

    For one problem given without a batch dimension, the fields lack it too. The objective and its
    parts are computed when one of them is asked for, as differentiable as at the time of the
    solve.

    Attributes:
      plan: (N, T, L), exactly zero on padding. Detached unless ``plan_gradient`` says else.
      marginal_error: (N,) L1 distance of the plan's marginals to the weights. Unbalanced: to
        the marginals the optimality conditions ask for.
      iterations: (N,) int64, steps until the item stopped: outer steps of fused
        Gromov-Wasserstein, iterations of Sinkhorn.
      objective: makes value, node, edge and entropy.
    """

    plan: Tensor
    marginal_error: Tensor
    iterations: Tensor
    objective: Callable[[], Objective]

    @cached_property
    def _parts(self) -> Objective:
        return self.objective()

    @property
    def value(self) -> Tensor:
        """(N,) F_eps, the objective that was minimised, at ``plan``.

        Its gradient with respect to costs and edges is the envelope gradient: the plan is held.
        For fused Gromov-Wasserstein
        ``value = (1 - alpha) * node + alpha * edge + epsilon * entropy``;
        for Sinkhorn ``value = node + epsilon * entropy``; plus the KL penalties if unbalanced.
        """
        return self._parts.value

    @property
    def node(self) -> Tensor:
        """(N,) <M, P>, not weighted by 1 - alpha; differentiable as ``value`` is."""
        return self._parts.node

    @property
    def edge(self) -> Tensor:
        """(N,) sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl, not weighted by alpha; likewise.

        Never negative; where it is zero, so is its gradient (also that of its square root).
        """
        return self._parts.edge

    @property
    def entropy(self) -> Tensor:
        """(N,) sum P log P, the negative Shannon entropy.

        Unbalanced Sinkhorn: sum P log P - P, plus the mass of ``weights_a``, which is the same
        thing when the masses agree. Unbalanced fused Gromov-Wasserstein: H of its docstring.
        """
        return self._parts.entropy

    def unbatched(self) -> "TransportResult":
        """The only item of a batch of one, without its batch dimension."""
        return TransportResult(
            self.plan[0],
            self.marginal_error[0],
            self.iterations[0],
            lambda: Objective(*(part[0] for part in self._parts)),
        )


def later(compute: Callable[[], Objective], like: Tensor) -> Callable[[], Objective]:
    """``compute`` with the gradient mode of now, and without autocast on the device of ``like``."""
    with_gradient = torch.is_grad_enabled()

    def objective() -> Objective:
        with no_autocast(like.device), torch.set_grad_enabled(with_gradient):
            return compute()

    return objective
