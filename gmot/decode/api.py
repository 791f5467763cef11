"""Decoding by name, and the decoding of a whole part by several methods at once."""

import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import GmotError, PathLike
from gmot.decode import graphs, lattice
from gmot.decode.greedy import ctc_greedy_search
from gmot.text.tokens import TokenTable, WordTable, pieces_to_text

METHODS = ("ctc-greedy-search", "ctc-decoding", "1best")
GRAPHS = {"ctc-decoding": "H.pt", "1best": "HLG.pt"}

# From every state of H every token can follow, so the best path is at the top
# of the beam at every frame: the narrowest beam finds it. A wide one keeps
# tokens x tokens arcs a frame, which for thousands of tokens fills any memory.
H_BEAMS = dict(search_beam=0.1, output_beam=0.1, min_active_states=0, max_active_states=100)
HLG_BEAMS = dict(search_beam=20.0, output_beam=8.0, min_active_states=30, max_active_states=10000)

# Frames x arcs per state of HLG that one call of k2 gets. k2 aborts the process
# when memory does not suffice, so the batch is split before. With an HLG of 29
# million arcs (3,500 pieces, 167 arcs a state) and the beams above, noisy
# log-probabilities took 17 to 20 MB a frame: this is about 4.5 GB.
HLG_WORK = 40000


class Decoder:
    """From log-probabilities to texts.

    Args:
      method: ``ctc-greedy-search``; ``ctc-decoding``, the best path through H,
        which is the same path found by k2; ``1best``, the best path through HLG.
      tokens: the model's outputs.
      graph_dir: folder with H.pt and HLG.pt; greedy search does without.
      words: of HLG.
      device: where the graph goes: that of the log-probabilities.
      hlg_scale: weight of HLG's scores, the language model, against the
        acoustic model's (icefall's --hlg-scale); to be found on dev.
      beams: overrides of ``search_beam, output_beam, min_active_states,
        max_active_states`` (:func:`gmot.decode.lattice.one_best`).

    Attributes:
      seconds: wall time of all calls.
      num_utterances: utterances decoded.
      num_empty: utterances for which no path of the graph survived; they were
        answered by greedy search.

    Raises:
      GmotError: unknown method, graph missing or of another lang folder, no k2.
    """

    def __init__(
        self,
        method: str,
        tokens: TokenTable,
        graph_dir: Optional[PathLike] = None,
        words: Optional[WordTable] = None,
        device: Any = "cpu",
        hlg_scale: float = 1.0,
        **beams: float,
    ):
        if method not in METHODS:
            raise GmotError(f"decoding method '{method}': not known, give {', '.join(METHODS)}.")
        self.method = method
        self.tokens = tokens
        self.words = words
        self.beams: Dict[str, float] = {}
        self.graph = None
        self.seconds = 0.0
        self.num_utterances = 0
        self.num_empty = 0
        if method in GRAPHS:
            self.beams = dict(HLG_BEAMS if method == "1best" else H_BEAMS, **beams)
            if graph_dir is None:
                raise GmotError(f"{method}: needs a folder with {GRAPHS[method]} (--graph-dir).")
            if method == "1best" and words is None:
                raise GmotError("1best: needs the words of HLG (words.txt in --lang-dir).")
            self.graph = graphs.load_graph(
                Path(graph_dir) / GRAPHS[method],
                tokens,
                words if method == "1best" else None,
                device,
            )
        if method == "1best":
            self.graph.scores = self.graph.scores * hlg_scale

    def __call__(self, log_probs: Tensor, lens: Tensor) -> List[str]:
        """Decode a batch.

        Args:
          log_probs: (N, T, C).
          lens: (N,), frames of each utterance.
        Returns:
          The text of each utterance, without spaces.
        Raises:
          GmotError: C is not the number of tokens.
        """
        if log_probs.size(-1) != len(self.tokens):
            raise GmotError(
                f"the model has {log_probs.size(-1)} outputs, tokens.txt {len(self.tokens)} "
                "symbols. Give the --lang-dir that the model was trained with."
            )
        _synchronize(log_probs)
        started = time.perf_counter()
        if self.graph is None:
            texts = self._greedy(log_probs, lens)
        else:
            texts = self._one_best(log_probs, lens)
        self.seconds += time.perf_counter() - started
        self.num_utterances += len(texts)
        return texts

    def _greedy(self, log_probs: Tensor, lens: Tensor) -> List[str]:
        return [
            pieces_to_text(self.tokens.decode(ids)) for ids in ctc_greedy_search(log_probs, lens)
        ]

    def _one_best(self, log_probs: Tensor, lens: Tensor) -> List[str]:
        outputs: List[Optional[List[int]]] = []
        for rows in self._splits(log_probs):
            outputs += lattice.one_best(log_probs[rows], lens[rows], self.graph, **self.beams)
        lost = [i for i, ids in enumerate(outputs) if ids is None]
        if lost and not self.num_empty:
            logging.warning(
                "%s: no path of the graph survived for an utterance; greedy search answers it "
                "(warned once, counted; a wider --search-beam may help)",
                self.method,
            )
        self.num_empty += len(lost)
        fallback = dict(zip(lost, self._greedy(log_probs[lost], lens[lost]))) if lost else {}
        return [fallback[i] if ids is None else self._text(ids) for i, ids in enumerate(outputs)]

    def _splits(self, log_probs: Tensor) -> List[slice]:
        """Rows of the batch to search together."""
        num, frames, _ = log_probs.shape
        if self.method == "1best":
            assert self.graph is not None
            branching = self.graph.num_arcs / max(1, self.graph.arcs.dim0())
            step = max(1, int(HLG_WORK / (branching * max(1, frames))))
        else:
            step = max(1, num)
        return [slice(first, first + step) for first in range(0, num, step)]

    def _text(self, ids: Sequence[int]) -> str:
        if self.method == "1best":
            assert self.words is not None
            return "".join(self.words.decode(ids))
        return pieces_to_text(self.tokens.decode(ids))


@dataclass
class PartResult:
    """What decoding a part gave.

    Attributes:
      refs: utterance -> reference text.
      hyps: method -> utterance -> hypothesis text.
      num_empty: method -> utterances answered by greedy search.
      audio_seconds: speech decoded.
      encoder_seconds: wall time of the model.
      decoding_seconds: method -> wall time of decoding.
      peak_memory_mb: of the GPU's memory if there is one, else of the process.
    """

    refs: Dict[str, str] = field(default_factory=dict)
    hyps: Dict[str, Dict[str, str]] = field(default_factory=dict)
    num_empty: Dict[str, int] = field(default_factory=dict)
    audio_seconds: float = 0.0
    encoder_seconds: float = 0.0
    decoding_seconds: Dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0


@torch.no_grad()
def decode_part(
    model: torch.nn.Module,
    batches: Iterable[Any],
    decoders: Sequence[Decoder],
    device: Any = "cpu",
    num_utterances: Optional[int] = None,
    description: str = "decoding",
) -> PartResult:
    """Decode a part by several methods that share one pass of the encoder.

    Args:
      model: (features (N, T, F), lens (N,)) -> (log_probs (N, T', C), lens, ...).
      batches: objects with ``ids, features, feature_lens, texts, durations``.
      decoders: one a method.
      device: where the model is.
      num_utterances: how many the batches hold, for the progress bar.
      description: of the progress bar.
    Returns:
      References and hypotheses, with times and memory.
    Raises:
      GmotError: no utterances, or one comes twice.
    """
    model.eval()
    result = PartResult(hyps={decoder.method: {} for decoder in decoders})
    before = {d.method: (d.seconds, d.num_empty) for d in decoders}
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    with tqdm(total=num_utterances, desc=description, unit="utt", disable=None) as progress:
        for batch in batches:
            repeated = result.refs.keys() & set(batch.ids)
            if repeated:
                raise GmotError(f"utterances come more than once: {sorted(repeated)[:5]}.")
            started = time.perf_counter()
            log_probs, lens = model(batch.features.to(device), batch.feature_lens.to(device))[:2]
            log_probs = log_probs.float()
            _synchronize(log_probs)
            result.encoder_seconds += time.perf_counter() - started
            for decoder in decoders:
                texts = decoder(log_probs, lens)
                result.hyps[decoder.method].update(zip(batch.ids, texts))
            result.refs.update(zip(batch.ids, batch.texts))
            result.audio_seconds += float(sum(batch.durations))
            progress.update(len(batch.ids))
    if not result.refs:
        raise GmotError(f"{description}: no utterances to decode. Check the part's cuts.")
    for decoder in decoders:
        seconds, num_empty = before[decoder.method]
        result.decoding_seconds[decoder.method] = decoder.seconds - seconds
        result.num_empty[decoder.method] = decoder.num_empty - num_empty
    result.peak_memory_mb = (
        torch.cuda.max_memory_allocated(device) / 2**20 if cuda else _process_peak_mb()
    )
    return result


def _synchronize(tensor: Tensor) -> None:
    """Wait for the GPU, so that wall times are those of the work."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def _process_peak_mb() -> float:
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
