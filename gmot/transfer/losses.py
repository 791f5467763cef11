"""The losses of knowledge transfer: alignment, transport, and their weighting with CTC."""

from dataclasses import dataclass
from typing import Any, Tuple

import torch
from torch import Tensor

from gmot.graphs import positional_cost, unit, unit_distance, unit_edges
from gmot.ot import TransportResult, fused_gromov_wasserstein, sinkhorn
from gmot.ot.problem import Checks, check_choice, check_lengths, no_autocast
from gmot.transfer.final_sinkhorn import final_sinkhorn
from gmot.transfer.systems import TransferSettings

ALIGNMENT_REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class TransferLoss:
    """The losses of each utterance.

    Attributes:
      alignment: (N,) Eq. 16, summed over the tokens between [CLS] and [SEP] (over all
        if the system says so); 0 if there is none.
      alignment_mean: (N,) the same per token, in [0, 2] (of HCM, a sum over blocks).
      transport: (N,) Eq. 12, (1 - alpha) node + alpha edge with the paper's alpha; with
        ``entropy_in_value`` all of what Sinkhorn minimises. Entropy and penalties of the
        marginals depend on the plan alone, which is held: the gradient lacks nothing.
      result: plan and solver's values.
    """

    alignment: Tensor
    alignment_mean: Tensor
    transport: Tensor
    result: TransportResult


def transport_loss(
    h: Tensor, z: Tensor, h_lens: Any, z_lens: Any, settings: TransferSettings
) -> TransferLoss:
    """Match acoustic and linguistic graphs (GM-OT, arXiv 2505.13079, Eq. 6-16, and its family).

    The plan is held unless ``settings.plan_gradient`` says otherwise: features get their
    gradient through the costs and edges at the plan, and through Z~ = P^T H.

    Args:
      h: (N, T, D) acoustic nodes (FC2's output), any floating type; what lies
        beyond the lengths must be finite and has no effect.
      z: (N, L, D) teacher's features, [CLS] and [SEP] included.
      h_lens, z_lens: (N,) integers.
      settings: of the system.
    Returns:
      Losses per utterance, float32 (float64 when given), whatever the autocast.
    Raises:
      ValueError: naming the argument and the item.
    """
    h, z = check_features(h, z)
    checks = Checks()
    h_lens = check_lengths(h_lens, "h_lens", h.size(0), h.size(1), h.device, checks)
    z_lens = check_lengths(z_lens, "z_lens", z.size(0), z.size(1), h.device, checks)
    for name, x in (("h", h), ("z", z)):
        bad = ~torch.isfinite(x.detach().abs().amax((1, 2)))
        checks.add(bad, f"{name}: item {{item}} has NaN or infinite values.")
    checks.raise_if_any()

    result = _transport(h, z, h_lens, z_lens, settings)
    alignment, alignment_mean = alignment_loss(
        result.plan, h, z, z_lens, settings.alignment_tokens == "all"
    )
    if settings.entropy_in_value:
        transport = result.value
    else:
        transport = (1 - settings.alpha) * result.node + settings.alpha * result.edge
    return TransferLoss(alignment, alignment_mean, transport, result)


def _transport(
    h: Tensor, z: Tensor, h_lens: Tensor, z_lens: Tensor, settings: TransferSettings
) -> TransportResult:
    h, z = unit(h), unit(z)
    node_cost = unit_distance(h, z)
    if settings.positional is not None:
        node_cost = node_cost + positional_cost(
            settings.positional, h_lens, z_lens, h.size(1), z.size(1), settings.rho, h.dtype
        )
    reach_a, reach_b = settings.solver_reaches
    shared = {
        "lengths_a": h_lens,
        "lengths_b": z_lens,
        "reach_a": reach_a,
        "reach_b": reach_b,
        "tolerance": settings.tolerance,
        "plan_gradient": settings.plan_gradient,
        "backend": settings.backend,
    }
    if settings.alpha == 0:
        # Without edges the loop's cost is constant: T proximal steps are one Sinkhorn at
        # epsilon / T, and further projected gradient steps change nothing.
        proximal = settings.method == "proximal" and not settings.final_sinkhorn
        steps = settings.max_outer if proximal else 1
        return sinkhorn(
            node_cost,
            epsilon=settings.epsilon / steps,
            max_iterations=settings.max_outer * settings.max_inner,
            # Unrolled iterations have to lead all the way from their start.
            newton_steps=0 if settings.plan_gradient == "unroll" else settings.newton_steps,
            **shared,
        )
    edges = unit_edges(settings.edges, h, h_lens), unit_edges(settings.edges, z, z_lens)
    result = fused_gromov_wasserstein(
        node_cost,
        *edges,
        alpha=settings.solver_alpha,
        epsilon=settings.epsilon,
        method=settings.method,
        max_outer=settings.max_outer,
        max_inner=settings.max_inner,
        **shared,
    )
    if settings.final_sinkhorn:
        return final_sinkhorn(result.plan, node_cost, *edges, settings, shared)
    return result


def combine(ctc: Tensor, transfer: TransferLoss, settings: TransferSettings) -> Tensor:
    """Eq. 18: lambda L_CTC + (1 - lambda) (L_align + L_FGWD), averaged over utterances.

    The papers leave the reduction open; ours: each loss is that of an utterance (CTC summed over
    its labels, as ``ctc_loss`` gives it with reduction "none"; alignment by
    ``settings.alignment_reduction``), and every utterance counts the same.

    Args:
      ctc: (N,).
      transfer: of the same utterances.
      settings: of the system.
    Returns:
      The loss to minimise, a scalar.
    Raises:
      ValueError: shapes that do not fit, an unknown reduction.
    """
    check_choice(settings.alignment_reduction, "alignment_reduction", ALIGNMENT_REDUCTIONS)
    if ctc.shape != transfer.transport.shape:
        raise ValueError(
            f"ctc: expected one loss an utterance, {tuple(transfer.transport.shape)}; found "
            f"{tuple(ctc.shape)}."
        )
    summed = settings.alignment_reduction == "sum"
    alignment = transfer.alignment if summed else transfer.alignment_mean
    weight = settings.ctc_weight
    return (weight * ctc + (1 - weight) * (alignment + transfer.transport)).mean()


def alignment_loss(
    plan: Tensor, h: Tensor, z: Tensor, z_lens: Tensor, every_token: bool = False
) -> Tuple[Tensor, Tensor]:
    """Eq. 16: 1 - cos(z~_j, z_j), z~ = P^T H.

    Args:
      plan: (N, T, L), zero on padding.
      h: (N, T, D).
      z: (N, L, D).
      z_lens: (N,).
      every_token: [CLS] and [SEP] too (UOT, arXiv 2509.05609, Eq. 11).
    Returns:
      Sum over the tokens of an utterance, (N,), and mean over them.
    """
    with no_autocast(h.device):
        moved = torch.bmm(plan.transpose(1, 2), h)
    return token_distances(moved, z, z_lens, every_token)


def token_distances(
    moved: Tensor, z: Tensor, z_lens: Tensor, every_token: bool = False
) -> Tuple[Tensor, Tensor]:
    """1 - cos(moved_j, z_j) of each token (N, L, D): sum and mean of an utterance, (N,)."""
    cosine = (unit(moved) * unit(z)).sum(2)
    positions = torch.arange(z.size(1), device=z.device)
    ends = 0 if every_token else 1
    counted = (positions >= ends) & (positions < z_lens.unsqueeze(1) - ends)
    total = ((1 - cosine) * counted).sum(1)
    return total, total / counted.sum(1).clamp_min(1)


def check_features(h: Tensor, z: Tensor) -> Tuple[Tensor, Tensor]:
    """Both in float32 or float64.

    Raises:
      ValueError: wrong shapes, types or devices.
    """
    for name, x in (("h", h), ("z", z)):
        if x.dim() != 3 or not x.is_floating_point():
            raise ValueError(
                f"{name}: expected floating point numbers of shape (N, length, D), found "
                f"{x.dtype} of shape {tuple(x.shape)}."
            )
        if x.numel() == 0:
            raise ValueError(f"{name}: empty batch or features, its shape is {tuple(x.shape)}.")
    if h.size(0) != z.size(0) or h.size(2) != z.size(2):
        raise ValueError(
            f"h and z: expected the same batch and width, found {tuple(h.shape)} and "
            f"{tuple(z.shape)}."
        )
    if h.device != z.device or (h.dtype == torch.float64) != (z.dtype == torch.float64):
        raise ValueError(
            f"h and z: {h.dtype} on {h.device} and {z.dtype} on {z.device}; give both on one "
            "device, and both in float64 or neither."
        )
    if h.dtype == torch.float64:
        return h, z
    return h.float(), z.float()
