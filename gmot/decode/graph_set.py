"""The graphs that some decoding methods need, loaded from one folder."""

from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import torch

from gmot.common import GmotError, PathLike, fingerprint
from gmot.decode import lattice, rescoring
from gmot.decode.graphs import load_graph
from gmot.decode.lexicon_fst import BACK_OFF
from gmot.text.tokens import TokenTable, WordTable

# k2 aborts the process when memory does not suffice, so what a search may need is estimated: so
# many bytes for each frame and arc that leaves an active state. Measured with graphs of 29 and 56
# million arcs (3,500 and 4,241 tokens) and noise, which leaves as many states active as may be.
BYTES_AN_ARC = 11


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
        if not names:
            return
        if folder is None:
            raise GmotError(f"decoding needs a folder with {', '.join(names)} (--graph-dir).")
        if words is None and set(names) != {"H.pt"}:
            raise GmotError("HLG needs its words (words.txt in --lang-dir).")
        if "H.pt" in names:
            self.h = load_graph(Path(folder) / "H.pt", tokens, None, device)
        if "HLG.pt" in names:
            self.hlg = load_graph(Path(folder) / "HLG.pt", tokens, words, device)
            splits = self.hlg.arcs.row_splits(1).cpu().long()
            self._busiest = (splits[1:] - splits[:-1]).sort(descending=True).values.cumsum(0)
        if "G.pt" in names:
            assert words is not None
            plain = load_graph(Path(folder) / "G.pt", None, words, device)
            self.grammar = rescoring.epsilon_back_off(plain, words.ids[BACK_OFF])
            self.looped_grammar = rescoring.rescoring_grammar(self.grammar)

    def arcs_a_frame(self, num_states: int) -> int:
        """How many arcs of HLG leave its ``num_states`` busiest states: the most that a search
        with so many active states looks at in a frame."""
        return int(self._busiest[min(num_states, len(self._busiest)) - 1])

    def fit(self, num_states: int, frames: int, gigabytes: float) -> Tuple[int, int]:
        """What a search of HLG may take on with so much memory.

        Args:
          num_states: active states that are asked for.
          frames: of the longest utterance.
          gigabytes: of memory.
        Returns:
          How many utterances at once, at least one, and with how many active
          states: fewer where memory may not suffice for one utterance.
        """
        allowed = gigabytes * 1e9 / BYTES_AN_ARC / max(1, frames)
        at_once = int(allowed / self.arcs_a_frame(num_states))
        if at_once:
            return at_once, num_states
        within = int(torch.searchsorted(self._busiest, int(allowed), right=True))
        return 1, max(2, within)

    def weigh(self, hlg_scale: float) -> None:
        """Weigh HLG's language model."""
        if self.hlg is not None:
            lattice.weigh(self.hlg, hlg_scale)

    def fingerprints(self) -> Dict[str, str]:
        """What the graphs with a language model in them are known by, whatever their weight."""
        known = {}
        if self.hlg is not None:
            known["HLG.pt"] = (self.hlg.labels, self.hlg.lm_scores)
        if self.grammar is not None:
            known["G.pt"] = (self.grammar.labels, self.grammar.scores)
        return {name: fingerprint(*tensors) for name, tensors in known.items()}
