"""Decoding of batches of log-probabilities by one or several methods."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.decode.candidates import Candidates, LmScales
from gmot.decode.config import DecodingConfig
from gmot.decode.graph_set import GraphSet
from gmot.decode.methods import METHODS, graphs_needed, select_methods
from gmot.decode.search import Search
from gmot.text.tokens import TokenTable, WordTable


@dataclass
class Decoded:
    """Result of decoding a batch.

    Attributes:
      candidates: method -> candidates of each utterance, with spaces as in normalised text.
      seconds: method -> wall time; shared results count in full for each method.
      no_path: method -> utterances without a path in the graph, answered by greedy search.
      reduced_states: ``max_active_states`` of each utterance searched with fewer active states
        than configured, for lack of memory.
      num_pruned: method -> pruned lattices, for n-best lists and rescoring.
    """

    candidates: dict[str, list[Candidates]] = field(default_factory=dict)
    seconds: Counter = field(default_factory=Counter)
    no_path: Counter = field(default_factory=Counter)
    reduced_states: list[int] = field(default_factory=list)
    num_pruned: Counter = field(default_factory=Counter)

    def add(self, other: "Decoded") -> None:
        """Add the seconds and counts of another batch."""
        self.seconds.update(other.seconds)
        self.no_path.update(other.no_path)
        self.num_pruned.update(other.num_pruned)
        self.reduced_states += other.reduced_states


class Decoder:
    """Decoder for one or several methods. Calls do not change it.

    Args:
      graph_dir: folder of H.pt, HLG.pt and G.pt, as far as the methods need them.
      words: words of HLG and G.
      device: device of the log-probabilities and graphs.
      plm: masked LM for plm-rescoring; its ``score(texts)`` returns natural logarithms.

    Attributes:
      methods: names of the methods.

    Raises:
      GmotError: unknown method, missing graph, graph of another lang folder, no masked LM or
        no k2.
    """

    def __init__(
        self,
        config: DecodingConfig,
        tokens: TokenTable,
        graph_dir: PathLike | None = None,
        words: WordTable | None = None,
        device: Any = "cpu",
        plm: Any = None,
    ):
        self.config, self.tokens, self.words, self.plm = config, tokens, words, plm
        self.methods = select_methods(config.methods, plm is not None)
        for name in self.methods:
            if METHODS[name].masked_lm and plm is None:
                raise GmotError(f"{name} needs a masked LM. Give one (--teacher).")
        self.graphs = GraphSet(graphs_needed(self.methods), graph_dir, tokens, words, device)

    def __call__(
        self,
        log_probs: Tensor,
        lengths: Tensor,
        hlg_scale: float | None = None,
        lm_scales: Mapping[str, LmScales] | None = None,
        methods: Sequence[str] | None = None,
    ) -> Decoded:
        """Decode a batch.

        Args:
          log_probs: (N, T, C).
          lengths: (N,), number of frames.
          hlg_scale: scale of the LM scores in HLG; default: the first one of the configuration.
          lm_scales: method -> selected LM scales; by default candidates are found for all LM
            scales of the method.
          methods: some of :attr:`methods`; default: all.
        Raises:
          GmotError: C is not the number of tokens.
        """
        if log_probs.size(-1) != len(self.tokens):
            raise GmotError(
                f"the model has {log_probs.size(-1)} outputs, tokens.txt {len(self.tokens)} "
                "symbols. Give the --lang-dir of the training."
            )
        scale = self.config.hlg_scale[0] if hlg_scale is None else hlg_scale
        methods = self.methods if methods is None else methods
        decoded = Decoded({name: [] for name in methods})
        limits = self.config.max_active_states, self.config.search_memory
        for rows, max_states in self.graphs.sub_batches(lengths.tolist(), *limits):
            search = Search(self, log_probs[rows], lengths[rows], scale, max_states)
            for name in methods:
                fixed = (lm_scales or {}).get(name)
                choices = METHODS[name].lm_scales(scale) if fixed is None else [fixed]
                found, seconds = search.timed("own", METHODS[name].decode, choices)
                lost = found.count(None)
                greedy = search.token_texts(search.greedy) if lost else found
                decoded.candidates[name] += [c or g for c, g in zip(found, greedy)]
                decoded.seconds[name] += sum(seconds.values())
                decoded.no_path[name] += lost
                for kind in seconds.keys() & {"pruned", "compact"}:
                    decoded.num_pruned[name] += getattr(search, kind).num_pruned
            if max_states < self.config.max_active_states:
                decoded.reduced_states.append(max_states)
        return decoded

    def texts(
        self, log_probs: Tensor, lengths: Tensor, hlg_scale: float | None = None
    ) -> dict[str, list[str]]:
        """Method -> texts of a batch with the default LM scales (the LM scores in HLG)."""
        scale = self.config.hlg_scale[0] if hlg_scale is None else hlg_scale
        return {
            name: [c.text(METHODS[name].lm_scales(scale)[0]) for c in candidates]
            for name, candidates in self(log_probs, lengths, scale).candidates.items()
        }
