"""The decoding graphs of the requested methods, and the memory of an HLG search."""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike
from gmot.decode.fsa_graphs import load_graph
from gmot.decode.grammar import BACK_OFF
from gmot.decode.lattice import scale_graph
from gmot.decode.rescoring import epsilon_back_off, rescoring_grammar
from gmot.text.tokens import TokenTable, WordTable

# k2 aborts the process when memory is exhausted, so the memory of a search is estimated: bytes per
# frame and arc leaving an active state, measured on noise (as many active states as allowed) with
# graphs of 29 and 56 million arcs (full topology).
BYTES_PER_ARC = 11
# Table of active states: four entries per state, rounded up to a power of two.
BYTES_PER_STATE = 64


class GraphSet:
    """The graphs H, HLG and G, as far as requested.

    Args:
      names: subset of ``H.pt``, ``HLG.pt``, ``G.pt`` in ``folder``.
      tokens: outputs of the model.
      words: words of HLG and G.

    Attributes:
      h, hlg: k2.Fsa, or None.
      grammar: G for :func:`gmot.decode.rescoring.score_words`, or None.
      looped_grammar: G for :func:`gmot.decode.rescoring.rescore`, or None.
      info: file name -> topology and fingerprint of the graph.

    Raises:
      GmotError: no folder or words, a missing graph, one of another lang folder, or no k2.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: PathLike | None,
        tokens: TokenTable,
        words: WordTable | None,
        device: Any,
    ):
        self.h = self.hlg = self.grammar = self.looped_grammar = None
        self.info: dict[str, dict[str, str]] = {}
        self._scaled: tuple[float, Any] | None = None
        if not names:
            return
        if folder is None:
            raise GmotError(f"decoding needs {', '.join(names)}. Give their folder (--graph-dir).")
        if words is None and set(names) != {"H.pt"}:
            raise GmotError("HLG needs words.txt. Give its folder (--lang-dir).")

        def load(name: str, *tables: TokenTable | WordTable | None) -> Any:
            graph = load_graph(Path(folder) / name, *tables, device)
            topology = {"topology": graph.topology} if graph.topology else {}
            self.info[name] = {**topology, "fingerprint": graph.fingerprint}
            del graph.topology, graph.fingerprint  # k2 would pass them on to all lattices
            return graph

        if "H.pt" in names:
            self.h = load("H.pt", tokens, None)
        if "HLG.pt" in names:
            self.hlg = load("HLG.pt", tokens, words)
            degrees = self.hlg.arcs.row_splits(1).cpu().long().diff()
            self._busiest = degrees.sort(descending=True).values.cumsum(0)
        if "G.pt" in names and words is not None:
            self.grammar = epsilon_back_off(load("G.pt", None, words), words.ids[BACK_OFF])
            self.looped_grammar = rescoring_grammar(self.grammar)

    def scaled_hlg(self, scale: float) -> Any:
        """HLG with scaled LM scores; the copy for the last scale is cached."""
        if self._scaled is None or self._scaled[0] != scale:
            self._scaled = None  # free its memory first
            self._scaled = scale, scale_graph(self.hlg, scale)
        return self._scaled[1]

    def search_bytes(self, num_states: int, frames: int) -> float:
        """Upper estimate of the memory of an HLG search of one utterance.

        Args:
          num_states: active states per frame; those with the most arcs are assumed.
          frames: length of the utterance.
        """
        num_arcs = int(self._busiest[min(num_states, len(self._busiest)) - 1])
        return BYTES_PER_ARC * num_arcs * max(1, frames) + BYTES_PER_STATE * num_states

    def affordable_states(self, num_states: int, frames: int, gigabytes: float) -> int:
        """Largest number of active states, from 2 to ``num_states``, that fits into memory.

        It depends on the length of the utterance (``frames``), not on the rest of the batch.
        """

        def needed(states: int) -> float:
            return self.search_bytes(states, frames)

        if needed(num_states) <= gigabytes * 1e9:
            return num_states
        return max(2, bisect_right(range(2, num_states), gigabytes * 1e9, key=needed) + 1)

    def sub_batches(
        self, lengths: Sequence[int], num_states: int, gigabytes: float
    ) -> list[tuple[slice, int]]:
        """Division of a batch such that each HLG search fits into memory.

        Args:
          lengths: number of frames per utterance.
          num_states: requested active states.
        Returns:
          Consecutive rows with their active states. An utterance that does not fit with
          ``num_states`` is searched alone with :meth:`affordable_states`.
        """
        if self.hlg is None:
            return [(slice(0, len(lengths)), num_states)] if lengths else []
        batches: list[tuple[slice, int]] = []
        first = longest = 0
        for row, frames in enumerate(lengths):
            states = self.affordable_states(num_states, frames, gigabytes)
            longest = max(longest, frames)
            needed = (row - first + 1) * self.search_bytes(num_states, longest)
            if row > first and needed > gigabytes * 1e9:
                batches.append((slice(first, row), num_states))
                first, longest = row, frames
            if states < num_states:
                batches.append((slice(row, row + 1), states))
                first, longest = row + 1, 0
        if first < len(lengths):
            batches.append((slice(first, len(lengths)), num_states))
        return batches
