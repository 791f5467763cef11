"""Beams of the graph searches, counts of what they did to utterances, and wall times."""

import time
from dataclasses import dataclass, field
from typing import Callable, Dict, List

import torch
from torch import Tensor

# From every state of H every token can follow, so the best path is at the top of the beam at every
# frame: the narrowest beam finds it.
H_BEAMS = dict(search_beam=0.1, output_beam=0.1, min_active_states=0, max_active_states=100)
HLG_BEAMS = dict(search_beam=20.0, output_beam=8.0, min_active_states=30, max_active_states=10000)


def limit_beams(beams: Dict[str, float]) -> Dict[str, float]:
    """Keep min_active_states below max_active_states, as k2 demands."""
    least = min(beams["min_active_states"], beams["max_active_states"] - 1)
    return dict(beams, min_active_states=least)


@dataclass
class Counts:
    """What happened to utterances in decoding.

    Attributes:
      empty: method -> utterances for which no path of the graph survived; they were answered by
        greedy search.
      narrowed: ``max_active_states`` of each utterance for which memory did not allow the value
        asked for.
      thinned: utterances whose lattices were too large for n-best lists and rescoring.
    """

    empty: Dict[str, int]
    narrowed: List[int] = field(default_factory=list)
    thinned: int = 0


def timed(tensor: Tensor, step: Callable[[], None]) -> float:
    """Run a step on the device of a tensor; return its wall time in seconds."""
    synchronize(tensor)
    started = time.perf_counter()
    step()
    synchronize(tensor)
    return time.perf_counter() - started


def synchronize(tensor: Tensor) -> None:
    """Wait for the GPU, so that wall times are those of the work."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
