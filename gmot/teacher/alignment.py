"""Alignment of two tokenizations of a text by their spans of characters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gmot.text.units import Span


def piece_weights(units: Sequence[Span], pieces: Sequence[Span]) -> Tensor:
    """Weights ``(U, P)`` of the pieces in the mean of each unit; rows sum to 1.

    A unit is the mean of the pieces that overlap it, so a piece over several units is repeated. A
    unit without such a piece (a mark that the tokenizer removes) has that of the last piece before
    it, or the first of all.

    Args:
      units: spans of the tokens of the recogniser.
      pieces: spans of the pieces of the language model, in ascending order; empty ones overlap no
        unit. There is at least one.
    """
    unit_starts, unit_ends = torch.tensor(units, dtype=torch.long).reshape(-1, 2, 1).unbind(1)
    starts, ends = torch.tensor(pieces, dtype=torch.long).reshape(-1, 2).unbind(1)
    overlap = (starts < unit_ends) & (ends > unit_starts) & (ends > starts)  # (U, P)
    before = (starts < unit_ends) & (ends > starts)
    # The last piece before, found as the largest number among them.
    numbers = torch.arange(1, len(starts) + 1)
    last = (before * numbers).amax(1).sub(1).clamp_min(0)
    alone = torch.nn.functional.one_hot(last, len(starts)).bool()
    weights = torch.where(overlap.any(1, keepdim=True), overlap, alone).float()
    return weights / weights.sum(1, keepdim=True)
