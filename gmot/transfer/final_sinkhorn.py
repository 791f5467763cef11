"""Sinkhorn at beta after the proximal loop: the other reading of GM-OT's solver.

GM-OT (arXiv 2505.13079) iterates proximal steps (Eq. 13) on the unified cost (Eq. 14) and then says
that Sinkhorn's algorithm is used "as in Eq. 7" on that cost. This either describes the solution of
each step (our default: the plan of the last step), or one more solve with the entropy in place of
the proximal term:

  P_T <- T steps of Eq. 13
  P   <- argmin <(1 - alpha) M + alpha D (x) P_T, P> - beta H(P)

The loop sharpens the plan with each step; the last solve is at beta again and keeps only the edge
cost at P_T.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gmot.ot import TransportResult, sinkhorn
from gmot.ot.edges import Edges
from gmot.ot.precision import no_autocast
from gmot.ot.result import fused_objective
from gmot.transfer.config import TransferConfig


def final_sinkhorn(
    plan: Tensor,
    node_cost: Tensor,
    edges_a: Edges,
    edges_b: Edges,
    config: TransferConfig,
    solver: Mapping[str, Any],
) -> TransportResult:
    """Solve Eq. 7 on the cost of Eq. 14, for P_T ``plan`` and M ``node_cost`` (N, T, L).

    ``solver``: options that all solvers share: lengths, tolerance, plan_gradient, backend. The
    objective at the new plan and its gradients are those of ``fused_gromov_wasserstein``.
    """
    unroll = solver["plan_gradient"] == "unroll"
    with torch.set_grad_enabled(unroll and torch.is_grad_enabled()), no_autocast(plan.device):
        # D (x) P = -2 C1 P C2 up to terms of one index, which change no plan.
        product = edges_b.product(plan)
        product = edges_a.product(product.transpose(1, 2)).transpose(1, 2)
        cost = (1 - config.alpha) * node_cost - 2 * config.alpha * product
    iterations = config.max_outer * config.max_inner
    found = sinkhorn(cost, epsilon=config.beta, max_iterations=iterations, **solver)
    arguments = (node_cost, edges_a, edges_b, found.plan, config.solver_alpha, config.epsilon)
    return replace(found, objective=lambda: fused_objective(*arguments))
