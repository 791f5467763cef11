"""The decoding methods and what they need. Imports no torch."""

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

# LM scales that are tried on the scale split.
LM_SCALES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.0)
PLM_SCALES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)


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
      decode: maps the search results of a batch and possible LM scales to candidates of each
        utterance, None without a path in the graph.
      graphs: files of the graph folder; methods with graphs need k2.
      parameters: fields of :class:`DecodingConfig` that results depend on.
      lm_scales: maps the HLG scale to the LM scales to choose from on the scale split, the
        default first.
      masked_lm: needs a masked LM.
      oracle: the candidate nearest to the reference is taken.
    """

    decode: Callable[["Search", Sequence[LmScales]], list[Candidates | None]]
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


def _nbest(search: "Search", _: Sequence[LmScales]) -> list[Candidates | None]:
    return [search.candidates(paths) for paths in search.nbest]


METHODS: dict[str, Method] = {
    "ctc-greedy-search": Method(lambda s, _: s.token_texts(s.greedy)),
    "ctc-prefix-beam-search": Method(
        lambda s, _: s.token_texts(s.prefix_beam()), (), ("beam_size",)
    ),
    # Best path through H, equal to greedy search.
    "ctc-decoding": Method(lambda s, _: s.token_texts(s.h_best()), ("H.pt",)),
    "1best": Method(lambda s, _: s.word_texts(s.lattices.one_best()), ("HLG.pt",), _HLG),
    "nbest": Method(_nbest, ("HLG.pt",), _NBEST, hlg_scores),
    "nbest-oracle": Method(_nbest, ("HLG.pt",), _NBEST, oracle=True),
    # Scores of G instead of the LM scores in HLG.
    "nbest-rescoring": Method(lambda s, _: s.lm_rescored(), _RESCORED, _NBEST, rescoring_scales),
    # Best paths of HLG lattices composed with G, one for each of the LM scales.
    "whole-lattice-rescoring": Method(
        lambda s, choices: s.rescored(choices), _RESCORED, _HLG, rescoring_scales
    ),
    # Scores of G and of a masked LM for the best paths of the n-best lists.
    "plm-rescoring": Method(
        lambda s, _: s.masked_lm_rescored(),
        _RESCORED,
        (*_NBEST, "num_plm_paths"),
        plm_scales,
        masked_lm=True,
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
