"""Greedy CTC search: the best frame-wise path."""

import torch
from torch import Tensor

from gmot.text.tokens import BLANK_ID


def ctc_greedy_search(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Best token per frame, with repeats merged and blanks removed.

    Args:
      log_probs: (N, T, C).
      lengths: (N,), number of frames.
    Returns:
      Token ids per utterance.
    """
    best = log_probs.argmax(dim=-1)  # (N, T)
    keep = best != BLANK_ID
    keep[:, 1:] &= best[:, 1:] != best[:, :-1]
    keep &= torch.arange(best.size(1), device=best.device) < lengths.to(best.device).unsqueeze(1)
    best, keep = best.cpu(), keep.cpu()
    return [row[kept].tolist() for row, kept in zip(best, keep)]
