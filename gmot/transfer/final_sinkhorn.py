"""The other reading of GM-OT's solver: a Sinkhorn at beta after the proximal loop.

GM-OT (arXiv 2505.13079) iterates proximal steps (Eq. 13) on the unified cost (Eq. 14) and then says
that Sinkhorn's algorithm is used "as in Eq. 7" on that cost. Either this describes how a step is
solved (the default here: the plan is that of the last step), or it is one more solve, with the
entropy in place of the proximal term:

  P_T <- T steps of Eq. 13
  P   <- argmin <(1 - alpha) M + alpha D (x) P_T, P> - beta H(P)

The loop sharpens the plan from step to step (without edges T steps are one Sinkhorn at beta / T);
the last solve is back at beta and keeps of the loop only the edge cost at P_T.
"""

from typing import Any, Mapping

import torch
from torch import Tensor

from gmot.ot import TransportResult, sinkhorn
from gmot.ot.edges import Edges, edge_term
from gmot.ot.problem import no_autocast
from gmot.ot.result import Objective, later
from gmot.transfer.systems import TransferSettings


def final_sinkhorn(
    plan: Tensor,
    node_cost: Tensor,
    edges_a: Edges,
    edges_b: Edges,
    settings: TransferSettings,
    solver: Mapping[str, Any],
) -> TransportResult:
    """Solve Eq. 7 on the cost of Eq. 14.

    Args:
      plan: (N, T, L) of the last proximal step, P_T, zero on padding.
      node_cost: (N, T, L), M with the positional cost.
      edges_a, edges_b: of both graphs.
      settings: of the system; its alpha and beta are the paper's.
      solver: options that all solvers share: lengths, tolerance, plan_gradient, backend.
    Returns:
      The new plan. ``value`` is the objective of ``fused_gromov_wasserstein`` at it, in the
      solver's convention, with the same gradients: the plan is held.
    """
    unroll = solver["plan_gradient"] == "unroll"
    with torch.set_grad_enabled(unroll and torch.is_grad_enabled()), no_autocast(plan.device):
        # D (x) P = -2 C1 P C2 up to terms of one index, which change no plan.
        product = edges_b.product(plan)
        product = edges_a.product(product.transpose(1, 2)).transpose(1, 2)
        cost = (1 - settings.alpha) * node_cost - 2 * settings.alpha * product
    found = sinkhorn(
        cost,
        epsilon=settings.beta,
        max_iterations=settings.max_outer * settings.max_inner,
        **solver,
    )

    def objective() -> Objective:
        held = found.plan.detach()
        node = (node_cost * held).sum((1, 2))
        edge = edge_term(edges_a, edges_b, held)
        entropy = torch.xlogy(held, held).sum((1, 2))
        alpha = settings.solver_alpha
        value = (1 - alpha) * node + alpha * edge + settings.epsilon * entropy
        return Objective(value, node, edge, entropy)

    return TransportResult(
        found.plan, found.marginal_error, found.iterations, later(objective, found.plan)
    )
