"""Measures of couplings: evenness, monotonicity, distance to the diagonal, diffuseness."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmot.ot.problem import Checks, check_lengths, length_mask
from gmot.transfer.sequence_graphs import relative_positions


class PlanMeasures(NamedTuple):
    """Measures of plans P (T, L) of mass 1, frames x tokens; (N,) each, or scalars for one plan.

    s_i = argmax_j P_ij is the token of frame i (the first in a tie), n_j = |{i: s_i = j}| the
    length of token j's segment in frames; special tokens are included.

    Attributes:
      evenness: entropy of the segment lengths, -sum_j n_j/T log(n_j/T) / log L: 1 for equal
        segments, 0 for a single one.
      variation: coefficient of variation of the segment lengths,
        sqrt(1/L sum_j (n_j - T/L)^2) / (T/L): 0 for equal segments.
      backward: share of frame-to-frame steps to an earlier token,
        |{i < T: s_(i+1) < s_i}| / (T - 1); 0 for a monotone segmentation.
      diagonal: mean distance to the diagonal, sum_ij P_ij |i/T - j/L|, i and j from 1 as in
        GM-OT's positional cost (arXiv 2505.13079, section 2.2.4). Its minimum over plans with
        uniform marginals is about 1/(2L) for T >> L, not 0.
      entropy: -sum_ij P_ij log P_ij, in nats.
      diffuseness: entropy / log(T L), its maximum: 1 for the uniform plan.
    """

    evenness: Tensor
    variation: Tensor
    backward: Tensor
    diagonal: Tensor
    entropy: Tensor
    diffuseness: Tensor


def measure_plan(plan: Tensor, lengths_a: Any = None, lengths_b: Any = None) -> PlanMeasures:
    """Measures of one plan or of a batch, in float64.

    Args:
      plan: (T, L) or (N, T, L), floating point, not negative, of mass 1.
      lengths_a, lengths_b: (N,) frames and tokens per plan (padding has no effect); None: no
        padding.
    Raises:
      ValueError: invalid plan or lengths; names argument and item.
    """
    if plan.dim() not in (2, 3) or not plan.is_floating_point() or plan.numel() == 0:
        raise ValueError(
            f"plan: expected floating point numbers of shape (T, L) or (N, T, L), found "
            f"{plan.dtype} of shape {tuple(plan.shape)}."
        )
    if plan.dim() == 2:
        if lengths_a is not None or lengths_b is not None:
            raise ValueError("lengths_a and lengths_b: only for a batch of plans, (N, T, L).")
        return PlanMeasures(*(x[0] for x in measure_plan(plan.unsqueeze(0))))
    count, size_a, size_b = plan.shape
    checks = Checks()
    lengths_a = check_lengths(lengths_a, "lengths_a", count, size_a, plan.device, checks)
    lengths_b = check_lengths(lengths_b, "lengths_b", count, size_b, plan.device, checks)
    mask_a, mask_b = length_mask(lengths_a, size_a), length_mask(lengths_b, size_b)
    mask = mask_a.unsqueeze(2) & mask_b.unsqueeze(1)
    plan = plan.detach().double().masked_fill(~mask, 0)
    has_bad = ~(plan >= 0).flatten(1).all(1)
    checks.add(lambda: has_bad, "plan: item {item} has negative values or NaN.")
    checks.raise_if_any()

    frames, tokens = lengths_a.double(), lengths_b.double()
    token = plan.masked_fill(~mask_b.unsqueeze(1), -1).argmax(2)  # (N, T)
    segments = torch.zeros_like(plan[:, 0]).scatter_add_(1, token, mask_a.double())  # (N, L)
    share = segments / frames.unsqueeze(1)
    mean = frames / tokens
    squares = (segments - mean.unsqueeze(1)).square() * mask_b
    steps_back = ((token[:, 1:] < token[:, :-1]) & mask_a[:, 1:]).double().sum(1)
    distance = (
        relative_positions(lengths_a, size_a, plan.dtype).unsqueeze(2)
        - relative_positions(lengths_b, size_b, plan.dtype).unsqueeze(1)
    ).abs()
    entropy = -torch.xlogy(plan, plan).sum((1, 2))
    return PlanMeasures(
        evenness=_relative(-torch.xlogy(share, share).sum(1), tokens.log()),
        variation=(squares.sum(1) / tokens).sqrt() / mean,
        backward=steps_back / (frames - 1).clamp_min(1),
        diagonal=(plan * distance).sum((1, 2)),
        entropy=entropy,
        diffuseness=_relative(entropy, (frames * tokens).log()),
    )


def _relative(entropy: Tensor, most: Tensor) -> Tensor:
    """entropy / most; 1 where the maximum is 0 (a single outcome)."""
    return torch.where(most > 0, entropy / most.clamp_min(1e-300), torch.ones_like(most))


def rank_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation; ties share their mean rank; 0 for a constant x or y.

    Args:
      x: (K,) values of a parameter.
      y: (K,) or (K, N), N quantities per value.
    Returns:
      A scalar, or (N,), in [-1, 1], float64.
    Raises:
      ValueError: shapes that do not fit, fewer than two values.
    """
    if x.dim() != 1 or y.dim() not in (1, 2) or len(x) != len(y) or len(x) < 2:
        raise ValueError(
            f"x and y: expected (K,) and (K,) or (K, N), K at least 2; found {tuple(x.shape)} and "
            f"{tuple(y.shape)}."
        )
    a, b = (_centred_ranks(v) for v in (x, y))
    a = a.reshape(-1, *[1] * (y.dim() - 1))
    norm = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(norm > 0, (a * b).sum(0) / norm.clamp_min(1e-300), torch.zeros_like(norm))


def _centred_ranks(x: Tensor) -> Tensor:
    """Centred ranks along the first dimension."""
    below = (x.unsqueeze(0) < x.unsqueeze(1)).double().sum(1)
    above = (x.unsqueeze(0) > x.unsqueeze(1)).double().sum(1)
    return (below - above) / 2
