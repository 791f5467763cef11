"""What an utterance may be, what speaks for each possibility, and how much each of that weighs."""

import itertools
from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Tuple

import kaldialign
import numpy as np

from gmot.text.tokens import characters

# What is tried on dev, by the name of the score. 0 leaves it out.
GRIDS: Dict[str, Tuple[float, ...]] = {
    "lm": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.0),
    "plm": (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5),
}
ORACLE = "oracle"  # not a score: the one with the fewest errors


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

    def best(self, scales: Mapping[str, float]) -> int:
        """The index of the candidate with the highest weighted sum of scores.

        Args:
          scales: weight of each score beside ``acoustic``; one that is not there
            weighs nothing.
        """
        total = self.scores["acoustic"].copy()
        for name, scale in scales.items():
            if name in self.scores and scale:
                total += scale * self.scores[name]
        return int(total.argmax())

    def text(self, scales: Mapping[str, float]) -> str:
        """The text of :meth:`best`."""
        return self.texts[self.best(scales)]

    def errors(self, reference: str) -> np.ndarray:
        """Character errors of each text against the reference: (len(texts),)."""
        units = characters(reference)
        return np.array(
            [kaldialign.edit_distance(units, characters(t))["total"] for t in self.texts]
        )

    def closest(self, reference: str) -> str:
        """The text with the fewest errors: what a perfect choice would give."""
        return self.texts[int(self.errors(reference).argmin())]


def search_scales(
    candidates: Mapping[str, Candidates], references: Mapping[str, str], names: Sequence[str]
) -> Dict[str, float]:
    """The scales with the fewest errors, by trying those of :data:`GRIDS`.

    Args:
      candidates: utterance -> candidates.
      references: utterance -> text.
      names: of the scores to weigh.
    Returns:
      name -> scale. Of equally good ones the first: the smallest.
    """
    errors = {key: c.errors(references[key]) for key, c in candidates.items()}
    grid = list(itertools.product(*(GRIDS[name] for name in names)))
    totals: List[int] = []
    for values in grid:
        scales = dict(zip(names, values))
        totals.append(sum(errors[key][c.best(scales)] for key, c in candidates.items()))
    return dict(zip(names, grid[int(np.argmin(totals))]))
