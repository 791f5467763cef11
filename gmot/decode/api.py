"""Decoding of batches of log-probabilities by one or several methods."""

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
      candidates: method -> candidates of each utterance, texts without spaces.
      seconds: method -> wall time; shared results count in full for each method.
      no_path: method -> number of utterances without a path in the graph; greedy search gives
        their texts.
      reduced_states: ``max_active_states`` of each utterance with fewer active states than
        configured, for lack of memory.
      num_pruned: method -> number of pruned lattices, for n-best lists and rescoring.
    """

    candidates: dict[str, list[Candidates]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    no_path: dict[str, int] = field(default_factory=dict)
    reduced_states: list[int] = field(default_factory=list)
    num_pruned: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Decoded") -> None:
        """Add the seconds and counts of another batch."""
        for name in ("seconds", "no_path", "num_pruned"):
            total, more = getattr(self, name), getattr(other, name)
            for method, value in more.items():
                total[method] = total.get(method, 0) + value
        self.reduced_states += other.reduced_states


class Decoder:
    """Decoder for one or several methods. Calls do not change it.

    Args:
      config: methods and parameters.
      tokens: outputs of the model.
      graph_dir: folder of H.pt, HLG.pt and G.pt, as far as the methods need them.
      words: words of HLG and G.
      device: device of the log-probabilities and graphs.
      plm: masked LM for plm-rescoring; its ``score(texts)`` returns natural logarithms.

    Attributes:
      methods: names of the methods.
      graphs: :class:`GraphSet` of the methods.

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
          lm_scales: method -> LM scales selected before; by default candidates are found for all
            LM scales of the method.
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
        for rows, max_states in self._sub_batches(lengths):
            search = Search(self, log_probs[rows], lengths[rows], scale, max_states)
            for name in methods:
                fixed = (lm_scales or {}).get(name)
                choices = METHODS[name].lm_scales(scale) if fixed is None else [fixed]
                found, seconds = search.timed("own", METHODS[name].decode, self.config, choices)
                lost = [i for i, candidates in enumerate(found) if candidates is None]
                greedy = search.token_texts(search.greedy) if lost else found
                decoded.candidates[name] += [c or g for c, g in zip(found, greedy)]
                costs = Decoded({}, {name: sum(seconds.values())}, {name: len(lost)})
                if "pruned" in seconds:
                    costs.num_pruned[name] = search.pruned.num_pruned
                decoded.add(costs)
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

    def _sub_batches(self, lengths: Tensor) -> list[tuple[slice, int]]:
        """Rows that are searched together, and their max_active_states."""
        states = self.config.max_active_states
        if self.graphs.hlg is None:
            return [(slice(0, len(lengths)), states)] if len(lengths) else []
        return self.graphs.sub_batches(lengths.tolist(), states, self.config.search_memory)
