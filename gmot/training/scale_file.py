"""``scales.json``: weights of language models found on one part, to be used on others."""

import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch

from gmot.common import GmotError, fingerprint, read_json, write_json
from gmot.decode.api import Decoder
from gmot.decode.candidates import RULE, Weights
from gmot.decode.methods import LM_SCALES, PLM_SCALES, STEPS, graphs_needed
from gmot.text.tokens import TokenTable

HLG = "hlg"  # the name of the scale of HLG, beside those of methods
Facts = Dict[str, Any]


class ScaleFile:
    """Weights with everything they depend on; those found with anything else are refused.

    Args:
      path: of the file.
      part: on which weights are found.
      utterances: fingerprint of the part's utterances and texts; None if the part is not there,
        which is not compared.
      model: that decodes.
      tokens: of the lang folder.
      decoder: with the graphs and settings of the search.
      hlg_scales: the candidates for the scale of HLG.
    """

    def __init__(
        self,
        path: Path,
        part: str,
        utterances: Optional[str],
        model: torch.nn.Module,
        tokens: TokenTable,
        decoder: Decoder,
        hlg_scales: Sequence[float],
    ):
        self.path = path
        self.part = part
        self.decoder = decoder
        self.hlg_scales = list(hlg_scales)
        self.common: Facts = {
            "part": part,
            "utterances": utterances,
            "model": fingerprint(*model.state_dict().values()),
            "tokens": tokens.fingerprint,
            "words": decoder.words.fingerprint if decoder.words else None,
        }

    def facts(self, name: str) -> Facts:
        """What the weights of a method, or of :data:`HLG`, depend on."""
        method = "1best" if name == HLG else name
        found = {**self.common, **self.decoder.settings(method)}
        for graph in graphs_needed([method]):
            found[graph] = self.decoder.graphs.described[graph]["fingerprint"]
        if name == HLG:
            found.update(candidates=self.hlg_scales, rule="fewest errors, the first of equals")
            return found
        found.update(hlg_scale=self.decoder.hlg_scale, lm_scales=list(LM_SCALES), rule=RULE)
        if "plm" in STEPS[method]:
            found["masked language model"] = self.decoder.plm.fingerprint
            found["plm_scales"] = list(PLM_SCALES)
        return found

    def write(self, hlg_scale: float, weights: Mapping[str, Weights]) -> None:
        """Replace the file.

        Args:
          hlg_scale: found or given.
          weights: of the methods that have some to be found.
        """
        kept: Dict[str, Weights] = {HLG: {"graph": hlg_scale}, **weights}
        made_for = {name: self.facts(name) for name in kept}
        write_json(self.path, {"part": self.part, "made_for": made_for, "weights": kept})
        logging.info("%s: weights found on %s: %s", self.path, self.part, kept)

    def read(self, names: Sequence[str]) -> Dict[str, Weights]:
        """Weights of methods, or of :data:`HLG`.

        Raises:
          GmotError: there are none, or they depend on other things than this decoding.
        """
        remedy = f"Decode '{self.part}' too (--parts {self.part} ...): they are found on it."
        if not self.path.exists():
            raise GmotError(f"{self.path}: not there, and weights are needed. {remedy}")
        kept = read_json(self.path)
        if not _readable(kept):
            raise GmotError(f"{self.path}: not a file of weights. {remedy}")
        lacking = [name for name in names if name not in kept["weights"]]
        if lacking:
            raise GmotError(f"{self.path}: no weights of {', '.join(lacking)}. {remedy}")
        differ: Dict[str, List[str]] = {}
        for name in names:
            for difference in _differences(kept["made_for"][name], self.facts(name)):
                differ.setdefault(difference, []).append(name)
        if differ:
            told = "; ".join(f"{what} ({', '.join(of)})" for what, of in differ.items())
            raise GmotError(
                f"{self.path}: weights found with other settings: {told}. {remedy} Or decode with "
                "the settings of the file."
            )
        return {name: kept["weights"][name] for name in names}


def _readable(kept: Any) -> bool:
    """Whether weights and what they were made for are there, under the same names."""
    if not isinstance(kept, dict):
        return False
    made_for, weights = kept.get("made_for"), kept.get("weights")
    return (
        isinstance(made_for, dict)
        and isinstance(weights, dict)
        and made_for.keys() == weights.keys()
        and all(isinstance(value, dict) for value in (*made_for.values(), *weights.values()))
    )


def _differences(found: Facts, asked: Facts) -> List[str]:
    """Each field that differs, with both values."""
    nothing = "nothing"
    return [
        f"{key} {found.get(key, nothing)} there, {asked.get(key, nothing)} here"
        for key in dict.fromkeys([*asked, *found])
        if found.get(key, nothing) != asked.get(key, nothing)
        and not (key == "utterances" and asked[key] is None)
    ]
