"""CTC prefix beam search: the most probable text without a language model."""

import math
from typing import Dict, List, Tuple

from torch import Tensor

from gmot.text.tokens import BLANK_ID

Prefix = Tuple[int, ...]
_NEVER = -math.inf


def ctc_prefix_beam_search(log_probs: Tensor, lens: Tensor, beam_size: int = 4) -> List[List[int]]:
    """Sum over the frame-wise paths of a text, where greedy search takes the best one.

    Hannun et al., "First-pass large vocabulary continuous speech recognition
    using bi-directional recurrent DNNs" (2014), algorithm 1, without a language model.

    Args:
      log_probs: (N, T, C).
      lens: (N,), frames of each utterance.
      beam_size: texts kept at each frame, and tokens tried to go on with them.
    Returns:
      The token ids of each utterance.
    """
    log_probs = log_probs.detach().double().cpu()
    top = log_probs.topk(min(beam_size, log_probs.size(-1)), dim=-1).indices
    return [
        _search(frames[:n], tokens[:n], beam_size)
        for frames, tokens, n in zip(log_probs, top, lens.tolist())
    ]


def _search(frames: Tensor, tokens: Tensor, beam_size: int) -> List[int]:
    """One utterance: (T, C), (T, beam_size) -> token ids."""
    # prefix -> log-probability of the paths that end in blank, and in its last token
    beam: Dict[Prefix, Tuple[float, float]] = {(): (0.0, _NEVER)}
    for frame, candidates in zip(frames.numpy(), tokens.tolist()):
        blank = float(frame[BLANK_ID])
        grown: Dict[Prefix, List[float]] = {}
        for prefix, (in_blank, in_token) in beam.items():
            total = _add(in_blank, in_token)
            entry = grown.setdefault(prefix, [_NEVER, _NEVER])
            entry[0] = _add(entry[0], total + blank)
            if prefix:
                entry[1] = _add(entry[1], in_token + float(frame[prefix[-1]]))
            for token in candidates:
                if token == BLANK_ID:
                    continue
                # A repeated token is a new one only after a blank.
                before = in_blank if prefix and token == prefix[-1] else total
                longer = grown.setdefault((*prefix, token), [_NEVER, _NEVER])
                longer[1] = _add(longer[1], before + float(frame[token]))
        kept = sorted(grown.items(), key=lambda item: -_add(*item[1]))[:beam_size]
        beam = {prefix: (scores[0], scores[1]) for prefix, scores in kept}
    return list(max(beam, key=lambda prefix: _add(*beam[prefix])))


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == _NEVER else a + math.log1p(math.exp(b - a))
