"""CTC searches without a graph: greedy and prefix beam search."""

import math

import torch
from torch import Tensor

from gmot.text.tokens import BLANK_ID

Prefix = tuple[int, ...]
_NEVER = -math.inf


def ctc_greedy_search(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Best token per frame, with repeats merged and blanks removed: token ids per utterance.

    Args:
      log_probs: (N, T, C).
      lengths: (N,), number of frames.
    """
    best = log_probs.argmax(dim=-1)  # (N, T)
    keep = best != BLANK_ID
    keep[:, 1:] &= best[:, 1:] != best[:, :-1]
    keep &= torch.arange(best.size(1), device=best.device) < lengths.to(best.device).unsqueeze(1)
    best, keep = best.cpu(), keep.cpu()
    return [row[kept].tolist() for row, kept in zip(best, keep)]


def ctc_prefix_beam_search(
    log_probs: Tensor, lengths: Tensor, beam_size: int = 4
) -> list[list[int]]:
    """Most probable token sequence, summed over its frame-wise paths: token ids per utterance.

    Hannun et al., "First-pass large vocabulary continuous speech recognition using
    bi-directional recurrent DNNs" (2014), algorithm 1, without the language model.

    Args:
      log_probs: (N, T, C).
      lengths: (N,), number of frames.
      beam_size: prefixes kept per frame, and tokens by which they are extended.
    """
    log_probs = log_probs.detach().double().cpu()
    top = log_probs.topk(min(beam_size, log_probs.size(-1)), dim=-1).indices
    return [
        _search(frames[:n], tokens[:n], beam_size)
        for frames, tokens, n in zip(log_probs, top, lengths.tolist())
    ]


def _search(frames: Tensor, tokens: Tensor, beam_size: int) -> list[int]:
    """One utterance: (T, C), (T, beam_size) -> token ids."""
    # prefix -> log-probabilities of its paths that end in blank and in its last token
    beam: dict[Prefix, tuple[float, float]] = {(): (0.0, _NEVER)}
    for frame, candidates in zip(frames.numpy(), tokens.tolist()):
        blank = float(frame[BLANK_ID])
        extended: dict[Prefix, list[float]] = {}
        for prefix, (in_blank, in_token) in beam.items():
            total = _add(in_blank, in_token)
            entry = extended.setdefault(prefix, [_NEVER, _NEVER])
            entry[0] = _add(entry[0], total + blank)
            if prefix:
                entry[1] = _add(entry[1], in_token + float(frame[prefix[-1]]))
            for token in candidates:
                if token == BLANK_ID:
                    continue
                # A repeated token needs a blank in between.
                before = in_blank if prefix and token == prefix[-1] else total
                longer = extended.setdefault((*prefix, token), [_NEVER, _NEVER])
                longer[1] = _add(longer[1], before + float(frame[token]))
        kept = sorted(extended.items(), key=lambda item: -_add(*item[1]))[:beam_size]
        beam = {prefix: (scores[0], scores[1]) for prefix, scores in kept}
    best: Prefix = max(beam, key=lambda prefix: _add(*beam[prefix]))
    return list(best)


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == _NEVER else a + math.log1p(math.exp(b - a))
