"""What an utterance may be, what speaks for each possibility, and how much each of that weighs."""

from dataclasses import dataclass
from typing import Mapping, Sequence, Tuple

import kaldialign
import numpy as np

from gmot.text.tokens import characters

Weights = Mapping[str, float]  # of scores, by their names
# How search_weights chooses, for the record.
RULE = "fewest errors; the first ones unless others gain more than two standard errors"


@dataclass(frozen=True)
class Candidates:
    """The possible texts of one utterance.

    Attributes:
      texts: the one that stands first wins ties.
      scores: name -> (len(texts),), natural logarithms. ``acoustic`` always weighs 1.
    """

    texts: Tuple[str, ...]
    scores: Mapping[str, np.ndarray]

    @classmethod
    def single(cls, text: str) -> "Candidates":
        """Nothing to choose."""
        return cls((text,), {"acoustic": np.zeros(1)})

    def best(self, weights: Weights) -> int:
        """The index of the candidate with the highest weighted sum of scores.

        Args:
          weights: of each score beside ``acoustic``; one that is not named, or that
            the candidates do not have, weighs nothing.
        """
        total = self.scores["acoustic"].copy()
        for name, weight in weights.items():
            if name in self.scores:
                total += weight * self.scores[name]
        return int(total.argmax())

    def text(self, weights: Weights) -> str:
        """The text of :meth:`best`."""
        return self.texts[self.best(weights)]

    def errors(self, reference: str) -> np.ndarray:
        """Character errors of each text against the reference: (len(texts),)."""
        units = characters(reference)
        return np.array(
            [kaldialign.edit_distance(units, characters(t))["total"] for t in self.texts]
        )

    def closest(self, reference: str) -> str:
        """The text with the fewest errors: what a perfect choice would give."""
        return self.texts[int(self.errors(reference).argmin())]


def search_weights(
    candidates: Mapping[str, Candidates],
    references: Mapping[str, str],
    weightings: Sequence[Weights],
) -> Weights:
    """The weights that make the fewest errors, if that is more than chance.

    The first ones stay unless others make fewer errors by more than two
    standard errors of the difference, over utterances: what the best of many
    weightings seems to gain on a small part is often lost on another.

    Args:
      candidates: utterance -> candidates.
      references: utterance -> text.
      weightings: to try.
    Returns:
      One of them; of equally good ones the first.
    """
    if len(weightings) == 1:
        return weightings[0]
    errors = {key: c.errors(references[key]) for key, c in candidates.items()}
    made = np.array(
        [[errors[key][c.best(weights)] for key, c in candidates.items()] for weights in weightings]
    )  # (weightings, utterances)
    best = int(made.sum(axis=1).argmin())
    gains = made[0] - made[best]
    return weightings[best if gains.sum() > 2 * np.sqrt((gains**2).sum()) else 0]
