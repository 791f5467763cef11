"""Decoding by name: from log-probabilities to what each method makes of them."""

import copy
import logging
from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.decode import lattice, rescoring
from gmot.decode.candidates import Candidates
from gmot.decode.graph_set import GraphSet
from gmot.decode.greedy import ctc_greedy_search
from gmot.decode.methods import STEPS, graphs_needed, weightings
from gmot.decode.prefix_beam import ctc_prefix_beam_search
from gmot.decode.settings import H_BEAMS, HLG_BEAMS, Counts, limit_beams, timed
from gmot.text.normalize import join_words
from gmot.text.tokens import TokenTable, WordTable, pieces_to_text

Work = Dict[str, Any]


class Decoder:
    """From log-probabilities to candidates, by one or several methods.

    Args:
      methods: of :data:`gmot.decode.methods.METHODS`. ``ctc-decoding`` is greedy search by k2 (H);
        ``1best`` the best path through HLG; ``nbest`` the best of an n-best list
        and ``nbest-oracle`` its nearest to the reference; ``nbest-rescoring`` and
        ``whole-lattice-rescoring`` put another n-gram model, G.pt, in the place of
        HLG's; ``plm-rescoring`` adds a masked language model to the former.
      tokens: the model's outputs.
      graph_dir: folder with H.pt, HLG.pt and G.pt, as far as the methods need them.
      words: of HLG and G.
      device: where the graphs go: that of the log-probabilities.
      hlg_scale: weight of HLG's scores, the language model, against the
        acoustic model's; to be found on dev.
      num_paths: drawn for an n-best list, the best one included.
      nbest_scale: the smaller, the more they differ.
      beam_size: of prefix beam search.
      plm: a masked language model: its ``score(texts)`` gives a natural logarithm a text.
      num_plm_paths: the best of the list that it is asked about.
      search_memory: gigabytes that a search of HLG may need: a batch is searched in
        parts, and ``max_active_states`` is lowered for an utterance that does not fit alone,
        by its own length.
      beams: overrides of ``search_beam, output_beam, min_active_states,
        max_active_states`` for HLG (:func:`gmot.decode.lattice.search`). The smallest number of
        active states is lowered to stay below the largest.

    Attributes:
      whole_weightings: those for which ``whole-lattice-rescoring`` gives candidates.
      seconds: method -> wall time; of a shared step all who share it bear the whole.
      counts: of utterances decoded otherwise than asked for.

    Raises:
      GmotError: unknown method, graph missing or of another lang folder, no k2.
    """

    def __init__(
        self,
        methods: Sequence[str],
        tokens: TokenTable,
        graph_dir: Optional[PathLike] = None,
        words: Optional[WordTable] = None,
        device: Any = "cpu",
        hlg_scale: float = 0.6,
        num_paths: int = 100,
        nbest_scale: float = 0.5,
        beam_size: int = 4,
        plm: Optional[Any] = None,
        num_plm_paths: int = 20,
        search_memory: float = 6.0,
        **beams: float,
    ):
        self.methods = tuple(dict.fromkeys(methods))
        needed = graphs_needed(self.methods)
        self.tokens = tokens
        self.words = words
        self.num_paths = num_paths
        self.nbest_scale = nbest_scale
        self.beam_size = beam_size
        self.plm = plm
        self.num_plm_paths = num_plm_paths
        self.search_memory = search_memory
        self.beams = limit_beams(dict(HLG_BEAMS, **beams))
        self.whole_weightings = weightings("whole-lattice-rescoring", hlg_scale)
        self.reset()
        if "plm-rescoring" in self.methods and plm is None:
            raise GmotError("plm-rescoring: needs a masked language model (--teacher).")
        self.graphs = GraphSet(needed, graph_dir, tokens, words, device)
        self.hlg_scale = hlg_scale

    def reset(self) -> None:
        """Begin to count anew."""
        self.seconds = {method: 0.0 for method in self.methods}
        self.counts = Counts(empty={method: 0 for method in self.methods})

    def only(self, methods: Sequence[str]) -> "Decoder":
        """The same for other methods, with the graphs that are loaded."""
        other = copy.copy(self)
        other.methods = tuple(methods)
        other.reset()
        return other

    @property
    def hlg_scale(self) -> float:
        return self._hlg_scale

    @hlg_scale.setter
    def hlg_scale(self, scale: float) -> None:
        self._hlg_scale = scale
        self.graphs.weigh(scale)

    def settings(self, method: str) -> Dict[str, float]:
        """What of the search a method's results depend on, for the record."""
        steps = STEPS[method]
        found: Dict[str, float] = {}
        if "prefixes" in steps:
            found["beam_size"] = self.beam_size
        if "h" in steps:
            found.update(H_BEAMS)
        if "lattice" in steps:
            found.update(self.beams, search_memory=self.search_memory)
        if "nbest" in steps:
            found.update(num_paths=self.num_paths, nbest_scale=self.nbest_scale)
        if "plm" in steps:
            found["num_plm_paths"] = self.num_plm_paths
        return found

    def __call__(self, log_probs: Tensor, lens: Tensor) -> Dict[str, List[Candidates]]:
        """Decode a batch.

        Args:
          log_probs: (N, T, C).
          lens: (N,), frames of each utterance.
        Returns:
          For each method the candidates of each utterance, texts without spaces.
        Raises:
          GmotError: C is not the number of tokens.
        """
        if log_probs.size(-1) != len(self.tokens):
            raise GmotError(
                f"the model has {log_probs.size(-1)} outputs, tokens.txt {len(self.tokens)} "
                "symbols. Give the --lang-dir that the model was trained with."
            )
        before = copy.deepcopy(self.counts)
        try:
            return self._decode(log_probs, lens)
        except BaseException:
            self.counts = before  # who halves a batch for lack of memory counts once
            raise

    def _decode(self, log_probs: Tensor, lens: Tensor) -> Dict[str, List[Candidates]]:
        found: Dict[str, List[Candidates]] = {method: [] for method in self.methods}
        for rows, beams in self._splits(lens):
            work: Work = {"log_probs": log_probs[rows], "lens": lens[rows], "beams": beams}
            costs: Dict[str, float] = {}
            for method in self.methods:
                for step in STEPS[method]:
                    if step not in costs:
                        costs[step] = timed(log_probs, partial(getattr(self, f"_{step}"), work))
                    self.seconds[method] += costs[step]
                found[method] += self._candidates(method, work)
        return found

    def texts(self, log_probs: Tensor, lens: Tensor) -> Dict[str, List[str]]:
        """The texts of a batch, where no weights were found on dev: by HLG's own scores."""
        return {
            method: [c.text(weightings(method, self.hlg_scale)[0]) for c in candidates]
            for method, candidates in self(log_probs, lens).items()
        }

    def _splits(self, lens: Tensor) -> List[Tuple[slice, Dict[str, float]]]:
        """Rows of the batch to search together, and their beams."""
        if self.graphs.hlg is None:
            return [(slice(0, len(lens)), self.beams)] if len(lens) else []
        asked = int(self.beams["max_active_states"])
        splits = self.graphs.splits(lens.tolist(), asked, self.search_memory)
        for rows, states in splits:
            if states == asked:
                continue
            if not self.counts.narrowed:
                logging.warning(
                    "HLG: an utterance of %d frames may need more than %g GB with "
                    "--max-active-states %d: searched with %d (warned once, counted; "
                    "--search-memory allows more)",
                    int(lens[rows][0]),
                    self.search_memory,
                    asked,
                    states,
                )
            self.counts.narrowed.append(states)
        return [(rows, limit_beams(dict(self.beams, max_active_states=n))) for rows, n in splits]

    # --- the steps: each adds to what is known of the batch ----------------------------------

    def _greedy(self, work: Work) -> None:
        work["greedy"] = ctc_greedy_search(work["log_probs"], work["lens"])

    def _prefixes(self, work: Work) -> None:
        work["prefixes"] = ctc_prefix_beam_search(work["log_probs"], work["lens"], self.beam_size)

    def _h(self, work: Work) -> None:
        found = lattice.search(work["log_probs"], work["lens"], self.graphs.h, **H_BEAMS)
        work["h"] = found.one_best()

    def _lattice(self, work: Work) -> None:
        log_probs, lens = work["log_probs"], work["lens"]
        found = lattice.search(log_probs, lens, self.graphs.hlg, **work["beams"])
        if found.num_arcs > lattice.BATCH_ARCS and len(lens) > 1:
            # One after another, so that the large ones are never there at the same time.
            del found
            found = lattice.join(
                [
                    lattice.search(
                        log_probs[i : i + 1], lens[i : i + 1], self.graphs.hlg, **work["beams"]
                    ).thinned()
                    for i in range(len(lens))
                ]
            )
        work["lattice"] = found

    def _best(self, work: Work) -> None:
        work["best"] = work["lattice"].one_best()

    def _thinned(self, work: Work) -> None:
        work["thinned"] = work["lattice"].thinned()
        thinned = work["thinned"].num_thinned
        if thinned and not self.counts.thinned:
            logging.warning(
                "lattices of more than %d arcs are thinned for n-best lists and rescoring "
                "(warned once, counted): the model is far from sure what was said, or "
                "--output-beam is too wide",
                lattice.MAX_ARCS,
            )
        self.counts.thinned += thinned

    def _nbest(self, work: Work) -> None:
        lists = work["thinned"].nbest(self.num_paths, self.nbest_scale)
        work["nbest"] = [
            sorted(paths, key=lambda p: -(p.acoustic + self.hlg_scale * p.graph)) for paths in lists
        ]

    def _lm(self, work: Work) -> None:
        flat = rescoring.score_labels(
            self.graphs.grammar, [path.labels for paths in work["nbest"] for path in paths]
        )
        scores = iter(flat)
        work["lm"] = [np.array([next(scores) for _ in paths]) for paths in work["nbest"]]

    def _whole(self, work: Work) -> None:
        work["whole"] = rescoring.rescore(
            work["thinned"], self.graphs.looped_grammar, self.whole_weightings
        )

    def _plm(self, work: Work) -> None:
        assert self.plm is not None and self.words is not None
        asked = [
            [join_words(self.words.decode(p.labels)) for p in paths[: self.num_plm_paths]]
            for paths in work["nbest"]
        ]
        scores = iter(self.plm.score([text for texts in asked for text in texts]))
        work["plm"] = [np.array([next(scores) for _ in texts]) for texts in asked]

    # --- their results as candidates ----------------------------------------------------------

    def _candidates(self, method: str, work: Work) -> List[Candidates]:
        if method in ("ctc-greedy-search", "ctc-prefix-beam-search", "ctc-decoding"):
            ids = work[STEPS[method][-1]]
            found = [None if i is None else Candidates.single(self._tokens_text(i)) for i in ids]
        elif method == "1best":
            found = [
                None if i is None else Candidates.single(self._words_text(i)) for i in work["best"]
            ]
        elif method == "whole-lattice-rescoring":
            found = [self._listed(paths, lm=[p.lm for p in paths]) for paths in work["whole"]]
        else:
            found = []
            for i, paths in enumerate(work["nbest"]):
                if method == "plm-rescoring":
                    paths = paths[: self.num_plm_paths]
                columns = {step: work[step][i][: len(paths)] for step in STEPS[method][3:]}
                found.append(self._listed(paths, **columns))
        return self._filled(method, found, work)

    def _listed(
        self, paths: Sequence[lattice.Path], **columns: Sequence[float]
    ) -> Optional[Candidates]:
        if not paths:
            return None
        columns.update(acoustic=[p.acoustic for p in paths], graph=[p.graph for p in paths])
        return Candidates(
            tuple(self._words_text(p.labels) for p in paths),
            {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()},
        )

    def _filled(
        self, method: str, found: List[Optional[Candidates]], work: Work
    ) -> List[Candidates]:
        """Greedy search answers where no path of the graph survived."""
        lost = [i for i, candidates in enumerate(found) if candidates is None]
        if not lost:
            return found  # type: ignore[return-value]
        if not any(self.counts.empty.values()):
            logging.warning(
                "%s: no path of the graph survived for an utterance; greedy search answers it "
                "(warned once, counted; a wider --search-beam may help)",
                method,
            )
        self.counts.empty[method] += len(lost)
        if "greedy" not in work:
            self._greedy(work)
        return [
            c if c is not None else Candidates.single(self._tokens_text(ids))
            for c, ids in zip(found, work["greedy"])
        ]

    def _tokens_text(self, ids: Sequence[int]) -> str:
        return pieces_to_text(self.tokens.decode(ids))

    def _words_text(self, ids: Sequence[int]) -> str:
        assert self.words is not None
        return "".join(self.words.decode(ids))
