"""The best frame-wise path of a CTC model."""

from typing import List

import torch
from torch import Tensor

from gmot.text.tokens import BLANK_ID


def ctc_greedy_search(log_probs: Tensor, lens: Tensor) -> List[List[int]]:
    """Take the best token of each frame, merge repeats, drop blanks.

    Args:
      log_probs: (N, T, C).
      lens: (N,), frames of each utterance.
    Returns:
      The token ids of each utterance.
    """
    best = log_probs.argmax(dim=-1)  # (N, T)
    keep = best != BLANK_ID
    keep[:, 1:] &= best[:, 1:] != best[:, :-1]
    keep &= torch.arange(best.size(1), device=best.device) < lens.to(best.device).unsqueeze(1)
    best, keep = best.cpu(), keep.cpu()
    return [row[kept].tolist() for row, kept in zip(best, keep)]
