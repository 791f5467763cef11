"""Candidate texts of an utterance with their scores, and the selection of LM scales."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import kaldialign
import numpy as np

from gmot.text.scoring_units import CER, Metric

LmScales = Mapping[str, float]  # score name -> scale
# Rule of search_lm_scales, recorded in scales.json.
RULE = "fewest errors; the first ones unless others gain more than two standard errors"


@dataclass(frozen=True)
class Candidates:
    """Candidate texts of one utterance.

    Attributes:
      texts: of equally good ones the first is chosen.
      scores: name -> (len(texts),), natural logarithms. The scale of ``acoustic`` is always 1.
    """

    texts: tuple[str, ...]
    scores: Mapping[str, np.ndarray]

    @classmethod
    def single(cls, text: str) -> "Candidates":
        """A single candidate."""
        return cls((text,), {"acoustic": np.zeros(1)})

    def best(self, lm_scales: LmScales) -> int:
        """Index of the highest sum of scaled scores; scores without a scale do not count."""
        total = self.scores["acoustic"].copy()
        for name, scale in lm_scales.items():
            if name in self.scores:
                total += scale * self.scores[name]
        return int(total.argmax())

    def text(self, lm_scales: LmScales) -> str:
        """The text of :meth:`best`."""
        return self.texts[self.best(lm_scales)]

    def errors(self, reference: str, metric: Metric = CER) -> np.ndarray:
        """Errors of each text: (len(texts),)."""
        expected, found = metric.units(reference), map(metric.units, self.texts)
        return np.array([kaldialign.edit_distance(expected, f)["total"] for f in found])

    def oracle(self, reference: str, metric: Metric = CER) -> str:
        """The text with the fewest errors."""
        return self.texts[int(self.errors(reference, metric).argmin())]


def search_lm_scales(
    candidates: Mapping[str, Candidates],
    references: Mapping[str, str],
    choices: Sequence[LmScales],
    metric: Metric = CER,
) -> LmScales:
    """LM scales with the fewest errors (the first of equals), if the gain is significant.

    The first choice is kept unless another one makes fewer errors by more than two standard
    errors of the difference over utterances: smaller gains of the best of many choices on a small
    split are often lost on another split.

    Args:
      candidates, references: utterance -> candidates, and its reference text.
      metric: counts the errors.
    """
    if len(choices) == 1:
        return choices[0]
    errors = {key: c.errors(references[key], metric) for key, c in candidates.items()}
    made = np.array(
        [[errors[key][c.best(scales)] for key, c in candidates.items()] for scales in choices]
    )  # (choices, utterances)
    best = int(made.sum(axis=1).argmin())
    gains = made[0] - made[best]
    return choices[best if gains.sum() > 2 * np.sqrt((gains**2).sum()) else 0]
