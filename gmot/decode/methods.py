"""The decoding methods: their names, steps, graphs, and what they leave to be found on dev."""

from typing import Dict, List, Sequence, Tuple

from gmot.common import GmotError
from gmot.decode.candidates import Weights

# Method -> the steps that it consists of. Methods share them.
STEPS: Dict[str, Tuple[str, ...]] = {
    "ctc-greedy-search": ("greedy",),
    "ctc-prefix-beam-search": ("prefixes",),
    "ctc-decoding": ("h",),
    "1best": ("lattice", "best"),
    "nbest": ("lattice", "thinned", "nbest"),
    "nbest-oracle": ("lattice", "thinned", "nbest"),
    "nbest-rescoring": ("lattice", "thinned", "nbest", "lm"),
    "whole-lattice-rescoring": ("lattice", "thinned", "whole"),
    "plm-rescoring": ("lattice", "thinned", "nbest", "lm", "plm"),
}
METHODS = tuple(STEPS)
# What is tried on dev for the language models that rescore.
LM_SCALES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.0)
PLM_SCALES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
_GRAPH_OF_STEP = {"h": "H.pt", "lattice": "HLG.pt", "lm": "G.pt", "whole": "G.pt"}


def weightings(method: str, hlg_scale: float) -> List[Weights]:
    """What a method may do with the scores of its candidates, to be chosen from on dev.

    Rescoring may keep HLG's own scores, which stand first: then it finds what
    ``1best`` finds (:func:`gmot.decode.candidates.search_weights`).

    Args:
      method: of :data:`METHODS`.
      hlg_scale: weight of HLG's scores.
    Returns:
      One for methods that leave nothing to be chosen.
    """
    own = {"graph": hlg_scale}
    rescored: List[Weights] = [own, *({"lm": scale} for scale in LM_SCALES)]
    if method in ("nbest-rescoring", "whole-lattice-rescoring"):
        return rescored
    if method == "plm-rescoring":
        return [{**weights, "plm": scale} for weights in rescored for scale in PLM_SCALES]
    return [own if method == "nbest" else {}]


def graphs_needed(methods: Sequence[str]) -> List[str]:
    """The files of the graph folder that methods need.

    Raises:
      GmotError: a method is unknown.
    """
    for method in methods:
        if method not in STEPS:
            raise GmotError(f"decoding method '{method}': not known, give {', '.join(METHODS)}.")
    steps = {step for method in methods for step in STEPS[method]}
    return [name for step, name in _GRAPH_OF_STEP.items() if step in steps]
