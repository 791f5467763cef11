"""The decoding methods: one function each, and what it needs. Imports no torch.

A method maps the search results of a batch (:class:`gmot.decode.search.Search`), the
configuration and its possible LM scales to one :class:`Candidates` per utterance, or None if the
graph has no path for the utterance.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gmot.common import GmotError
from gmot.decode.candidates import Candidates, LmScales
from gmot.decode.config import BEAMS, DecodingConfig
from gmot.decode.k2_import import k2_available

if TYPE_CHECKING:
    from gmot.decode.search import Search

Found = list[Candidates | None]
Choices = Sequence[LmScales]

# LM scales that are tried on the scale split.
LM_SCALES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.0)
PLM_SCALES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)


def ctc_greedy_search(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    return search.token_texts(search.greedy)


def ctc_prefix_beam_search(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    return search.token_texts(search.prefix_beam(config.beam_size))


def ctc_decoding(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    """Best path through H, equal to greedy search."""
    return search.token_texts(search.h_best())


def one_best(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    """Best path through HLG."""
    return search.word_texts(search.lattices.one_best())


def nbest(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    """N-best lists of HLG lattices."""
    return [search.candidates(paths) for paths in search.nbest]


def nbest_rescoring(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    """N-best lists with scores of G, instead of the LM scores in HLG."""
    return [search.candidates(paths, lm=lm) for paths, lm in zip(search.nbest, search.nbest_lm)]


def whole_lattice_rescoring(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    """Best paths of HLG lattices composed with G, one for each of the LM scales."""
    return [
        search.candidates(paths, lm=[p.lm for p in paths]) for paths in search.rescored(choices)
    ]


def plm_rescoring(search: "Search", config: DecodingConfig, choices: Choices) -> Found:
    """The best paths of n-best lists with scores of G and of a masked LM."""
    best = [paths[: config.num_plm_paths] for paths in search.nbest]
    scores = zip(best, search.nbest_lm, search.masked_lm(best))
    return [search.candidates(paths, lm=lm[: len(paths)], plm=plm) for paths, lm, plm in scores]


# --- LM scales to choose from on the scale split, the default first ------------------------------


def hlg_scores(hlg_scale: float) -> list[LmScales]:
    return [{"graph": hlg_scale}]


def rescoring_scales(hlg_scale: float) -> list[LmScales]:
    """The LM scores in HLG, which give the 1best result, or G."""
    return [*hlg_scores(hlg_scale), *({"lm": scale} for scale in LM_SCALES)]


def plm_scales(hlg_scale: float) -> list[LmScales]:
    return [{**scales, "plm": plm} for scales in rescoring_scales(hlg_scale) for plm in PLM_SCALES]


@dataclass(frozen=True)
class Method:
    """A decoding method.

    Attributes:
      decode: maps search results, configuration and LM scales to candidates.
      graphs: files of the graph folder; methods with graphs need k2.
      parameters: fields of :class:`DecodingConfig` that results depend on.
      lm_scales: maps the HLG scale to the LM scales to choose from on the scale split.
      masked_lm: needs a masked LM.
      oracle: the candidate nearest to the reference is taken.
    """

    decode: Callable[["Search", DecodingConfig, Choices], Found]
    graphs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    lm_scales: Callable[[float], list[LmScales]] = lambda hlg_scale: [{}]
    masked_lm: bool = False
    oracle: bool = False

    def settings(self, config: DecodingConfig) -> dict[str, Any]:
        """Values of :attr:`parameters`, for the records of results."""
        values = {**vars(config), **config.beams()}
        return {name: values[name] for name in self.parameters}


_HLG = (*BEAMS, "search_memory")
_NBEST = (*_HLG, "num_paths", "nbest_scale")
_RESCORED = ("HLG.pt", "G.pt")
METHODS: dict[str, Method] = {
    "ctc-greedy-search": Method(ctc_greedy_search),
    "ctc-prefix-beam-search": Method(ctc_prefix_beam_search, (), ("beam_size",)),
    "ctc-decoding": Method(ctc_decoding, ("H.pt",)),
    "1best": Method(one_best, ("HLG.pt",), _HLG),
    "nbest": Method(nbest, ("HLG.pt",), _NBEST, hlg_scores),
    "nbest-oracle": Method(nbest, ("HLG.pt",), _NBEST, oracle=True),
    "nbest-rescoring": Method(nbest_rescoring, _RESCORED, _NBEST, rescoring_scales),
    "whole-lattice-rescoring": Method(whole_lattice_rescoring, _RESCORED, _HLG, rescoring_scales),
    "plm-rescoring": Method(
        plm_rescoring, _RESCORED, (*_NBEST, "num_plm_paths"), plm_scales, masked_lm=True
    ),
}


def select_methods(requested: Sequence[str], masked_lm: bool) -> list[str]:
    """Requested methods, without those that are impossible here (logged in one line).

    Args:
      requested: method names, or ``all`` for every method.
      masked_lm: whether a masked LM is given; without it, ``all`` does not include plm-rescoring.
    Raises:
      GmotError: a method is unknown.
    """
    chosen: list[str] = []
    for name in requested:
        if name != "all" and name not in METHODS:
            raise GmotError(
                f"decoding method '{name}': unknown, expected all or {', '.join(METHODS)}."
            )
        chosen += METHODS if name == "all" else [name]
    possible = list(dict.fromkeys(chosen))
    if "all" in requested and not masked_lm:
        possible = [name for name in possible if name in requested or not METHODS[name].masked_lm]
    if not k2_available():  # if none is left, the import of k2 tells
        possible = [name for name in possible if not METHODS[name].graphs] or possible
    left_out = [name for name in dict.fromkeys(chosen) if name not in possible]
    if left_out:
        missing = "no masked LM (--teacher)" if k2_available() else "k2 is not installed"
        logging.warning("%s: decoding without %s", missing, ", ".join(left_out))
    return possible


def graphs_needed(methods: Sequence[str]) -> list[str]:
    """Files of the graph folder that the methods need."""
    return list(dict.fromkeys(graph for name in methods for graph in METHODS[name].graphs))
