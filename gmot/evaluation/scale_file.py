"""``scales.json``: HLG and LM scales selected on one split, for the decoding of other splits."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gmot.common import GmotError, fingerprint, read_json, write_json
from gmot.decode.api import Decoder
from gmot.decode.candidates import RULE, LmScales
from gmot.decode.methods import LM_SCALES, METHODS, PLM_SCALES

HLG = "hlg"  # name of the HLG scale beside the method names
Facts = dict[str, Any]


class ScaleFile:
    """Scales with everything they depend on; scales found otherwise are refused.

    Args:
      path: ``scales.json`` of an experiment.
      scoring: name of the metric that counts the errors.
      utterances: fingerprint of the utterances and texts of the scale split; None if the split is
        missing, then they are not compared.
    """

    def __init__(
        self,
        path: Path,
        utterances: str | None,
        model: torch.nn.Module,
        decoder: Decoder,
        scoring: str = "CER",
    ):
        self.path, self.decoder, self.config = path, decoder, decoder.config
        self.common: Facts = {
            "split": decoder.config.scale_split,
            "scoring": scoring,
            "utterances": utterances,
            "model": fingerprint(*model.state_dict().values()),
            "tokens": decoder.tokens.fingerprint,
            "words": decoder.words.fingerprint if decoder.words else None,
        }

    def facts(self, name: str, hlg_scale: float) -> Facts:
        """Everything that the LM scales of a method (or :data:`HLG`) depend on."""
        method = METHODS["1best" if name == HLG else name]
        facts = {**self.common, **method.settings(self.config)}
        for graph in method.graphs:
            facts[graph] = self.decoder.graphs.info[graph]["fingerprint"]
        if name == HLG:
            rule = "fewest errors, the first of equals"
            return {**facts, "candidates": list(self.config.hlg_scale), "rule": rule}
        facts.update(hlg_scale=hlg_scale, lm_scales=list(LM_SCALES), rule=RULE)
        if method.masked_lm:
            facts["masked language model"] = self.decoder.plm.fingerprint
            facts["plm_scales"] = list(PLM_SCALES)
        return facts

    def write(self, hlg_scale: float, lm_scales: Mapping[str, LmScales]) -> None:
        """Replace the file: the HLG scale, and method -> selected LM scales."""
        scales: dict[str, LmScales] = {HLG: {"graph": hlg_scale}, **lm_scales}
        found_with = {name: self.facts(name, hlg_scale) for name in scales}
        split = self.config.scale_split
        write_json(self.path, {"split": split, "found_with": found_with, "scales": scales})
        logging.info("%s: scales selected on %s: %s", self.path, split, scales)

    def read(self, names: Sequence[str], hlg_scale: float) -> dict[str, LmScales]:
        """LM scales of methods (or :data:`HLG`).

        Raises:
          GmotError: missing scales, or scales that depend on other facts than this decoding.
        """
        split = self.config.scale_split
        remedy = f"Scales are selected on '{split}': decode it too (--splits {split} ...)."
        if not self.path.exists():
            raise GmotError(f"{self.path}: not there, but scales are needed. {remedy}")
        content = read_json(self.path)
        if not _is_valid(content):
            raise GmotError(f"{self.path}: not a file of scales. {remedy}")
        missing = [name for name in names if name not in content["scales"]]
        if missing:
            raise GmotError(f"{self.path}: no scales of {', '.join(missing)}. {remedy}")
        differ: dict[str, list[str]] = {}
        for name in names:
            found = {"scoring": "CER", **content["found_with"][name]}  # not in older files
            for text in _differences(found, self.facts(name, hlg_scale)):
                differ.setdefault(text, []).append(name)
        if differ:
            listed = "; ".join(f"{what} ({', '.join(of)})" for what, of in differ.items())
            raise GmotError(
                f"{self.path}: scales selected with other settings: {listed}. {remedy} Or decode "
                "with the settings of the file."
            )
        return {name: content["scales"][name] for name in names}


def _is_valid(content: Any) -> bool:
    """Whether scales and the facts they were found with have the same names."""
    parts = [content.get(k) for k in ("found_with", "scales")] if isinstance(content, dict) else []
    if not parts or not all(isinstance(part, dict) for part in parts):
        return False
    values = [value for part in parts for value in part.values()]
    return parts[0].keys() == parts[1].keys() and all(isinstance(v, dict) for v in values)


def _differences(found: Facts, expected: Facts) -> list[str]:
    """Differing facts with both values."""
    none = "nothing"
    return [
        f"{key} {found.get(key, none)} there, {expected.get(key, none)} here"
        for key in dict.fromkeys([*expected, *found])
        if found.get(key, none) != expected.get(key, none)
        and not (key == "utterances" and expected[key] is None)
    ]
