"""Search results of a batch, shared by the decoding methods."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gmot.decode import lattice, rescoring
from gmot.decode.candidates import Candidates, LmScales
from gmot.decode.ctc_search import ctc_greedy_search, ctc_prefix_beam_search
from gmot.text.normalize import join_words
from gmot.text.units import detokenize

if TYPE_CHECKING:
    from gmot.decode.api import Decoder

# All tokens can follow each state of H, so the best path is at the top of the beam at each frame:
# the narrowest beam finds it.
H_BEAMS: dict[str, Any] = dict(
    search_beam=0.1, output_beam=0.1, min_active_states=0, max_active_states=100
)


def synchronize(tensor: Tensor) -> None:
    """Wait for the GPU before a clock is read."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


class shared:
    """Property computed at first use, whose time counts for each method that uses it."""

    def __init__(self, compute: Callable[["Search"], Any]):
        self.compute, self.name = compute, compute.__name__

    def __get__(self, search: "Search", owner: type) -> Any:
        if self.name not in search.results:
            search.results[self.name] = search.timed(self.name, self.compute)
        value, seconds = search.results[self.name]
        search.used.update(seconds)
        return value


@dataclass
class Search:
    """Search results of one batch.

    Args:
      decoder: configuration, tables, graphs and masked LM.
      log_probs: (N, T, C).
      lengths: (N,), number of frames.
      hlg_scale: scale of the LM scores in HLG.
      max_active_states: of the HLG search.
    """

    decoder: "Decoder"
    log_probs: Tensor
    lengths: Tensor
    hlg_scale: float
    max_active_states: int

    def __post_init__(self) -> None:
        self.config, self.graphs = self.decoder.config, self.decoder.graphs
        self.beams = self.config.beams(self.max_active_states)
        self.results: dict[str, tuple[Any, dict[str, float]]] = {}
        self.used: dict[str, float] = {}  # seconds of the shared results used so far
        self._spent = 0.0

    def timed(
        self, name: str, function: Callable[..., Any], *args: Any
    ) -> tuple[Any, dict[str, float]]:
        """Result of ``function(self, *args)``, and the seconds of it and of each shared result
        that it uses, by name."""
        outer, self.used = self.used, {}
        synchronize(self.log_probs)
        started, spent = time.perf_counter(), self._spent
        value = function(self, *args)
        synchronize(self.log_probs)
        elapsed = time.perf_counter() - started
        seconds = {**self.used, name: elapsed - (self._spent - spent)}
        self.used, self._spent = outer, spent + elapsed
        return value, seconds

    @shared
    def greedy(self) -> list[list[int]]:
        """Tokens of greedy search."""
        return ctc_greedy_search(self.log_probs, self.lengths)

    def prefix_beam(self) -> list[list[int]]:
        """Tokens of prefix beam search."""
        return ctc_prefix_beam_search(self.log_probs, self.lengths, self.config.beam_size)

    def h_best(self) -> list[list[int] | None]:
        """Tokens of the best path through H."""
        return lattice.search(self.log_probs, self.lengths, self.graphs.h, **H_BEAMS).one_best()

    @shared
    def lattices(self) -> lattice.Lattices:
        """HLG lattices."""
        hlg = self.graphs.scaled_hlg(self.hlg_scale)
        found = lattice.search(self.log_probs, self.lengths, hlg, **self.beams)
        if found.num_arcs <= lattice.MAX_BATCH_ARCS or len(self.lengths) == 1:
            return found
        del found  # one by one, such that only one large lattice is in memory
        ones = zip(self.log_probs.split(1), self.lengths.split(1))
        return lattice.concatenate(
            [lattice.search(*one, hlg, **self.beams).pruned() for one in ones]
        )

    @shared
    def pruned(self) -> lattice.Lattices:
        """HLG lattices, pruned for n-best lists."""
        return self.lattices.pruned()

    @shared
    def compact(self) -> lattice.Lattices:
        """HLG lattices, pruned for the composition with G."""
        return self.lattices.pruned(rescoring.MAX_ARCS)

    @shared
    def nbest(self) -> list[list[lattice.Path]]:
        """N-best lists, sorted by total score."""
        lists = self.pruned.nbest(self.config.num_paths, self.config.nbest_scale)
        return [
            sorted(paths, key=lambda p: -(p.acoustic + self.hlg_scale * p.graph)) for paths in lists
        ]

    @shared
    def nbest_lm(self) -> list[np.ndarray]:
        """Scores of G for the n-best lists."""
        labels = [path.labels for paths in self.nbest for path in paths]
        scores = iter(rescoring.score_words(self.graphs.grammar, labels))
        return [np.array([next(scores) for _ in paths]) for paths in self.nbest]

    def rescored(self, choices: Sequence[LmScales]) -> list[Candidates | None]:
        """Best paths of the lattices composed with G, for several LM scales."""
        found = rescoring.rescore(self.compact, self.graphs.looped_grammar, choices)
        return [self.candidates(paths, lm=[p.lm for p in paths]) for paths in found]

    def lm_rescored(self) -> list[Candidates | None]:
        """N-best lists, with scores of G."""
        return [self.candidates(paths, lm=lm) for paths, lm in zip(self.nbest, self.nbest_lm)]

    def masked_lm_rescored(self) -> list[Candidates | None]:
        """The best paths of the n-best lists, with scores of G and of the masked LM."""
        best = [paths[: self.config.num_plm_paths] for paths in self.nbest]
        texts = [self._text(path.labels) for paths in best for path in paths]
        scores = iter(self.decoder.plm.score(texts))
        return [
            self.candidates(paths, lm=lm[: len(paths)], plm=[next(scores) for _ in paths])
            for paths, lm in zip(best, self.nbest_lm)
        ]

    def token_texts(self, ids: Sequence[Sequence[int] | None]) -> list[Candidates | None]:
        """Single candidates from token ids."""
        return _single(ids, lambda i: detokenize(self.decoder.tokens.decode(i)))

    def word_texts(self, ids: Sequence[Sequence[int] | None]) -> list[Candidates | None]:
        """Single candidates from word ids."""
        return _single(ids, self._text)

    def candidates(self, paths: Sequence[lattice.Path], **scores: Any) -> Candidates | None:
        """Candidates from paths, with further scores by name."""
        if not paths:
            return None
        scores.update(acoustic=[p.acoustic for p in paths], graph=[p.graph for p in paths])
        arrays = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
        return Candidates(tuple(self._text(p.labels) for p in paths), arrays)

    def _text(self, ids: Sequence[int]) -> str:
        return join_words(self.decoder.words.decode(ids))


def _single(
    ids: Sequence[Sequence[int] | None], text: Callable[[Sequence[int]], str]
) -> list[Candidates | None]:
    return [None if i is None else Candidates.single(text(i)) for i in ids]
