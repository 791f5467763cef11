"""The graphs of the decoding methods, and what a search of HLG may need."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from gmot.common import GmotError, PathLike
from gmot.decode import lattice, rescoring
from gmot.decode.graphs import load_graph
from gmot.decode.lexicon_fst import BACK_OFF
from gmot.text.tokens import TokenTable, WordTable

# k2 aborts the process when memory does not suffice, so the memory of a search is estimated: bytes
# per frame and arc that leaves an active state, measured with noise, which leaves as many states
# active as allowed, and graphs of 29 and 56 million arcs (full topology).
BYTES_PER_ARC = 11
# Its table of active states: four entries per state, rounded up to a power of two.
BYTES_PER_STATE = 64


class GraphSet:
    """H, HLG and G, as far as they are asked for.

    Args:
      names: of ``H.pt``, ``HLG.pt``, ``G.pt``.
      folder: has them.
      tokens: the model's outputs.
      words: of HLG and G.
      device: where they go.

    Attributes:
      h, hlg: k2.Fsa, or None.
      grammar: G, for :func:`gmot.decode.rescoring.score_labels`, or None.
      looped_grammar: G, for :meth:`gmot.decode.rescoring.rescore`, or None.
      described: file name -> topology and fingerprint of the graph.

    Raises:
      GmotError: the folder or the words are not given, a graph is missing or of
        another lang folder, or no k2.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Optional[PathLike],
        tokens: TokenTable,
        words: Optional[WordTable],
        device: Any,
    ):
        self.h = self.hlg = self.grammar = self.looped_grammar = None
        self.described: Dict[str, Dict[str, str]] = {}
        if not names:
            return
        if folder is None:
            raise GmotError(f"decoding needs a folder with {', '.join(names)} (--graph-dir).")
        if words is None and set(names) != {"H.pt"}:
            raise GmotError("HLG needs its words (words.txt in --lang-dir).")
        if "H.pt" in names:
            self.h = self._load(Path(folder) / "H.pt", tokens, None, device)
        if "HLG.pt" in names:
            self.hlg = self._load(Path(folder) / "HLG.pt", tokens, words, device)
            splits = self.hlg.arcs.row_splits(1).cpu().long()
            self._busiest = (splits[1:] - splits[:-1]).sort(descending=True).values.cumsum(0)
        if "G.pt" in names:
            assert words is not None
            plain = self._load(Path(folder) / "G.pt", None, words, device)
            self.grammar = rescoring.epsilon_back_off(plain, words.ids[BACK_OFF])
            self.looped_grammar = rescoring.rescoring_grammar(self.grammar)

    def _load(self, path: Path, tokens: Any, words: Any, device: Any) -> Any:
        graph = load_graph(path, tokens, words, device)
        found = {"topology": graph.topology, "fingerprint": graph.fingerprint}
        self.described[path.name] = {key: value for key, value in found.items() if value}
        # k2 would hand them on to every lattice.
        del graph.topology, graph.fingerprint
        return graph

    def arcs_per_frame(self, num_states: int) -> int:
        """Arcs of HLG that leave its ``num_states`` busiest states: the most that a search with so
        many active states looks at in one frame."""
        return int(self._busiest[min(num_states, len(self._busiest)) - 1])

    def bytes_of(self, num_states: int, frames: int) -> float:
        """Upper estimate of the memory to search HLG for one utterance."""
        per_frame = BYTES_PER_ARC * self.arcs_per_frame(num_states)
        return per_frame * max(1, frames) + BYTES_PER_STATE * num_states

    def max_states(self, num_states: int, frames: int, gigabytes: float) -> int:
        """Active states that the search of one utterance can afford.

        Args:
          num_states: asked for.
          frames: of the utterance.
          gigabytes: of memory.
        Returns:
          ``num_states``, or where memory does not suffice the largest number for which it does,
          at least 2. It does not depend on other utterances.
        """
        if self.bytes_of(num_states, frames) <= gigabytes * 1e9:
            return num_states
        fewest, too_many = 2, num_states
        while too_many - fewest > 1:
            middle = (fewest + too_many) // 2
            if self.bytes_of(middle, frames) <= gigabytes * 1e9:
                fewest = middle
            else:
                too_many = middle
        return fewest

    def splits(
        self, lens: Sequence[int], num_states: int, gigabytes: float
    ) -> List[Tuple[slice, int]]:
        """Split a batch, so that searching HLG for each part fits into memory.

        Args:
          lens: frames per utterance.
          num_states: active states asked for.
          gigabytes: of memory.
        Returns:
          Consecutive rows, with their active states: as many as asked for, or those of
          :meth:`max_states` for an utterance that cannot afford them, which is alone.
        """
        parts: List[Tuple[slice, int]] = []
        first = longest = 0
        for row, frames in enumerate(lens):
            states = self.max_states(num_states, frames, gigabytes)
            together = row - first + 1
            longest = max(longest, frames)
            fits = together * self.bytes_of(num_states, longest) <= gigabytes * 1e9
            if row > first and not fits:
                parts.append((slice(first, row), num_states))
                first, longest = row, frames
            if states < num_states:
                parts.append((slice(row, row + 1), states))
                first, longest = row + 1, 0
        if first < len(lens):
            parts.append((slice(first, len(lens)), num_states))
        return parts

    def weigh(self, hlg_scale: float) -> None:
        """Weigh HLG's language model."""
        if self.hlg is not None:
            lattice.weigh(self.hlg, hlg_scale)
