"""Losses of knowledge transfer: alignment, transport, and their combination with CTC."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gmot.ot import TransportResult, fused_gromov_wasserstein, sinkhorn
from gmot.ot.edges import CosineEdges, Edges, TemporalEdges
from gmot.ot.precision import no_autocast
from gmot.ot.problem import Checks, check_lengths
from gmot.transfer.config import TransferConfig
from gmot.transfer.final_sinkhorn import final_sinkhorn
from gmot.transfer.sequence_graphs import positional_cost, unit, unit_distance


@dataclass(frozen=True)
class TransferLoss:
    """Losses per utterance, (N,) each, and the solver's plan and values.

    Attributes:
      alignment: Eq. 16, sum over the tokens (:func:`token_distances`).
      alignment_mean: mean over the tokens, in [0, 2] (HCM: sum over blocks).
      transport: Eq. 12, (1 - alpha) node + alpha edge with the paper's alpha; with
        ``entropy_in_value`` the objective of Sinkhorn. The plan is constant: entropy and penalties
        add no gradient.
    """

    alignment: Tensor
    alignment_mean: Tensor
    transport: Tensor
    result: TransportResult


def transport_loss(
    h: Tensor,
    z: Tensor,
    h_lengths: Any,
    z_lengths: Any,
    config: TransferConfig,
    validate: bool = True,
) -> TransferLoss:
    """Match acoustic and linguistic graphs (GM-OT, arXiv 2505.13079, Eq. 6-16, and its family).

    With ``plan_gradient`` "detach" the plan is constant: features get their gradient through the
    costs and edges at the plan, and through Z~ = P^T H.

    Args:
      h: (N, T, D) acoustic nodes (FC2), any floating type; padding must be finite.
      z: (N, L, D) teacher features, [CLS] and [SEP] included.
      h_lengths, z_lengths: (N,) integers.
      validate: check the values, for which a GPU is waited for. Without, the losses of an utterance
        with NaN or infinite features are not finite, and those of the others do not change.
    Returns:
      Losses per utterance, in float32 (float64 for float64 inputs), without autocast.
    Raises:
      ValueError: invalid input; names argument and item.
    """
    h, z = check_features(h, z)
    checks = Checks(validate)
    h_lengths = check_lengths(h_lengths, "h_lengths", h.size(0), h.size(1), h.device, checks)
    z_lengths = check_lengths(z_lengths, "z_lengths", z.size(0), z.size(1), h.device, checks)
    for name, x in (("h", h), ("z", z)):
        is_bad = partial(_not_finite, x)
        checks.add(is_bad, f"{name}: item {{item}} has NaN or infinite values.")
    checks.raise_if_any()

    result = _transport(h, z, h_lengths, z_lengths, config)
    with no_autocast(h.device):
        moved = torch.bmm(result.plan.transpose(1, 2), h)
    alignment = token_distances(moved, z, z_lengths, config.alignment_tokens == "all")
    if config.entropy_in_value:
        transport = result.value
    else:
        transport = (1 - config.alpha) * result.node + config.alpha * result.edge
    return TransferLoss(*alignment, transport, result)


def _not_finite(x: Tensor) -> Tensor:
    """(N,) bool of (N, T, D)."""
    return ~torch.isfinite(x.detach().abs().amax((1, 2)))


def _transport(
    h: Tensor, z: Tensor, h_lengths: Tensor, z_lengths: Tensor, config: TransferConfig
) -> TransportResult:
    h, z = unit(h), unit(z)
    node_cost = unit_distance(h, z)
    if config.positional is not None:
        sizes = (h_lengths, z_lengths, h.size(1), z.size(1))
        node_cost = node_cost + positional_cost(config.positional, *sizes, config.rho, h.dtype)
    reach_a, reach_b = config.solver_reaches
    shared: dict[str, Any] = {"lengths_a": h_lengths, "lengths_b": z_lengths}
    shared.update(reach_a=reach_a, reach_b=reach_b, backend=config.backend)
    shared.update(tolerance=config.tolerance, plan_gradient=config.plan_gradient)
    shared.update(validate=False)  # done for h, z and the lengths
    if config.alpha == 0:
        # Without edges the cost is constant: T proximal steps are one Sinkhorn at epsilon / T, and
        # projected gradient converges in one step.
        proximal = config.method == "proximal" and not config.final_sinkhorn
        steps = config.max_outer if proximal else 1
        return sinkhorn(
            node_cost,
            epsilon=config.epsilon / steps,
            max_iterations=config.max_outer * config.max_inner,
            # Unrolled iterations must start at zero potentials.
            newton_steps=0 if config.plan_gradient == "unroll" else config.newton_steps,
            **shared,
        )

    def edges_of(units: Tensor, lengths: Tensor) -> Edges:
        if config.edges == "cosine":
            return CosineEdges(units)
        return TemporalEdges(lengths, units.size(1), dtype=units.dtype)

    edges = edges_of(h, h_lengths), edges_of(z, z_lengths)
    result = fused_gromov_wasserstein(
        node_cost,
        *edges,
        edge_weight=config.solver_alpha,
        epsilon=config.epsilon,
        method=config.method,
        max_outer=config.max_outer,
        max_inner=config.max_inner,
        **shared,
    )
    if config.final_sinkhorn:
        return final_sinkhorn(result.plan, node_cost, *edges, config, shared)
    return result


def combine(ctc: Tensor, transfer: TransferLoss, config: TransferConfig) -> Tensor:
    """Eq. 18 per utterance, (N,): lambda L_CTC + (1 - lambda) (L_align + L_FGWD).

    The papers leave the reduction open. Ours: losses per utterance (CTC summed over labels, as
    ``ctc_loss`` with reduction "none"; alignment by ``alignment_reduction``), equal weights.

    Raises:
      ValueError: ``ctc`` is not (N,), as the losses of ``transfer``.
    """
    if ctc.shape != transfer.transport.shape:
        expected = f"one loss per utterance, {tuple(transfer.transport.shape)}"
        raise ValueError(f"ctc: expected {expected}; found {tuple(ctc.shape)}.")
    summed = config.alignment_reduction == "sum"
    alignment = transfer.alignment if summed else transfer.alignment_mean
    weight = config.ctc_weight
    return weight * ctc + (1 - weight) * (alignment + transfer.transport)


def token_distances(
    moved: Tensor, z: Tensor, z_lengths: Tensor, every_token: bool = False
) -> tuple[Tensor, Tensor]:
    """Sum and mean over tokens of 1 - cos(moved_j, z_j) (Eq. 16), (N, L, D) -> (N,) each.

    ``every_token``: with [CLS] and [SEP] (UOT, arXiv 2509.05609, Eq. 11).
    """
    cosine = (unit(moved) * unit(z)).sum(2)
    positions = torch.arange(z.size(1), device=z.device)
    ends = 0 if every_token else 1
    counted = (positions >= ends) & (positions < z_lengths.unsqueeze(1) - ends)
    total = ((1 - cosine) * counted).sum(1)
    return total, total / counted.sum(1).clamp_min(1)


def check_features(h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Features as float32, or float64 if both are.

    Raises:
      ValueError: invalid shapes, types or devices.
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
        shapes = f"{tuple(h.shape)} and {tuple(z.shape)}"
        raise ValueError(f"h and z: expected the same batch and width, found {shapes}.")
    if h.device != z.device or (h.dtype == torch.float64) != (z.dtype == torch.float64):
        raise ValueError(
            f"h and z: {h.dtype} on {h.device} and {z.dtype} on {z.device}; give both on one "
            "device, and both in float64 or neither."
        )
    return (h, z) if h.dtype == torch.float64 else (h.float(), z.float())
