"""What a coupling looks like, in numbers: how even, how near the diagonal, how diffuse it is."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmot.graphs import relative_positions
from gmot.ot.problem import Checks, check_lengths, length_mask


class PlanMeasures(NamedTuple):
    """Numbers of plans P (T, L) of mass 1, frames x tokens; each (N,), or a scalar of one plan.

    s_i = argmax_j P_ij is the token of frame i (the first of equals), n_j = |{i: s_i = j}| the
    length of token j's segment, in frames; special tokens are tokens too.

    Attributes:
      evenness: entropy of the segments' lengths, -sum_j n_j/T log(n_j/T) / log L: 1 if all
        tokens have as many frames, 0 if one has them all.
      variation: coefficient of variation of the segments' lengths,
        sqrt(1/L sum_j (n_j - T/L)^2) / (T/L): 0 if all tokens have as many frames.
      backward: share of the steps from a frame to the next that lead to an earlier token,
        |{i < T: s_(i+1) < s_i}| / (T - 1); 0 if the segmentation is monotone.
      diagonal: mean distance to the diagonal, sum_ij P_ij |i/T - j/L|, i and j from 1 as in
        GM-OT's positional cost (arXiv 2505.13079, section 2.2.4). The least that a plan with
        uniform marginals can have is not 0: about 1/(2L) if T >> L.
      entropy: -sum_ij P_ij log P_ij, in nats.
      diffuseness: the same by its maximum, log(T L): 1 if P is uniform.
    """

    evenness: Tensor
    variation: Tensor
    backward: Tensor
    diagonal: Tensor
    entropy: Tensor
    diffuseness: Tensor


def measure_plan(plan: Tensor, lengths_a: Any = None, lengths_b: Any = None) -> PlanMeasures:
    """The numbers of one plan or of a batch.

    Args:
      plan: (T, L) or (N, T, L), not negative, of mass 1; any floating type, computed in float64.
      lengths_a, lengths_b: (N,) frames and tokens of each plan; what lies beyond has no
        effect; None: all are full.
    Returns:
      PlanMeasures, float64.
    Raises:
      ValueError: naming the argument and the item.
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
    checks.add(~(plan >= 0).flatten(1).all(1), "plan: item {item} has negative values or NaN.")
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
    """By its maximum; 1 where there is only one possibility, which is its most uniform one."""
    return torch.where(most > 0, entropy / most.clamp_min(1e-300), torch.ones_like(most))


def rank_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation of a parameter and what it does.

    Pearson's correlation of the ranks; equal values share the mean of theirs. Where x or y does
    not vary there is no order to compare: 0.

    Args:
      x: (K,) values.
      y: (K,) or (K, N), N quantities at each of them.
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
    """Ranks along the first dimension, minus their mean."""
    below = (x.unsqueeze(0) < x.unsqueeze(1)).double().sum(1)
    above = (x.unsqueeze(0) > x.unsqueeze(1)).double().sum(1)
    return (below - above) / 2
