"""Results of the transport solvers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gmot.ot.edges import Edges, edge_term
from gmot.ot.precision import no_autocast


class Solution(NamedTuple):
    """Plan of a backend; fields of :class:`TransportResult`."""

    plan: Tensor  # contiguous
    error: Tensor
    iterations: Tensor  # outer steps; Sinkhorn iterations if ``max_outer`` is 1


class Objective(NamedTuple):
    """Objective and its terms, (N,) each; see :class:`TransportResult`."""

    value: Tensor
    node: Tensor
    edge: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class TransportResult:
    """Plans of a batch, their objective, and the accuracy of the solve.

    The fields of a single problem have no batch dimension. The objective costs about one outer
    step, so it is computed on first access: in the gradient mode of the solve, without autocast.

    Attributes:
      plan: (N, T, L), exactly zero on padding. Detached, unless ``plan_gradient`` says otherwise.
      marginal_error: (N,) L1 distance of the plan's marginals to the given ones; unbalanced: to
        those of the optimality conditions.
      iterations: (N,) int64, until the item stopped: outer steps of fused Gromov-Wasserstein,
        iterations of Sinkhorn.
      objective: function that computes value, node, edge and entropy.
    """

    plan: Tensor
    marginal_error: Tensor
    iterations: Tensor
    objective: Callable[[], Objective] = field(repr=False)
    with_gradient: bool = field(default_factory=torch.is_grad_enabled, repr=False)

    @cached_property
    def _terms(self) -> Objective:
        with no_autocast(self.plan.device), torch.set_grad_enabled(self.with_gradient):
            return self.objective()

    @property
    def value(self) -> Tensor:
        """(N,) minimised objective F_eps at ``plan``.

        (1 - edge_weight) * node + edge_weight * edge + epsilon * entropy (Sinkhorn: edge_weight
        0), plus the KL penalties. Its gradient is the envelope gradient: the plan is constant.
        """
        return self._terms.value

    @property
    def node(self) -> Tensor:
        """(N,) <M, P>, without 1 - edge_weight; differentiable as ``value``."""
        return self._terms.node

    @property
    def edge(self) -> Tensor:
        """(N,) sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl, without edge_weight; differentiable alike.

        Never negative; where it is zero, so is its gradient (also that of its square root).
        """
        return self._terms.edge

    @property
    def entropy(self) -> Tensor:
        """(N,) sum P log P, the negative Shannon entropy.

        Unbalanced Sinkhorn: sum P log P - P, plus the mass of ``marginal_a`` (equal to the balanced
        term where the masses agree). Unbalanced fused Gromov-Wasserstein: H of its docstring.
        """
        return self._terms.entropy


def fused_objective(
    node_cost: Tensor,
    edges_a: Edges,
    edges_b: Edges,
    plan: Tensor,
    edge_weight: float,
    epsilon: float,
    entropy: Tensor | None = None,
    penalty: Tensor | float = 0.0,
) -> Objective:
    """Objective at a constant plan (N, T, L); entropy and penalty (N,) of unbalanced transport."""
    plan = plan.detach()
    node = (node_cost * plan).sum((1, 2))
    edge = edge_term(edges_a, edges_b, plan)
    if entropy is None:
        entropy = torch.xlogy(plan, plan).sum((1, 2))
    value = (1 - edge_weight) * node + edge_weight * edge + epsilon * entropy + penalty
    return Objective(value, node, edge, entropy)
