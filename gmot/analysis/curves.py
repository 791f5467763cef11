"""Panels of training curves: which scalars, under which titles, and their means over intervals."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gmot.analysis.history import Curve, History

# Group -> tag of the event files -> title.
GROUPS: dict[str, dict[str, str]] = {
    "Loss": {
        "train/loss": "loss",
        "train/ctc": "CTC loss",
        "train/alignment": "alignment loss",
        "train/transport": "transport loss",
        "train/node": "transport loss: nodes",
        "train/edge": "transport loss: edges",
    },
    "Dev": {
        "dev/cer": "dev: CER (%)",
        "dev/loss": "dev: CTC loss",
        "dev/alignment": "dev: alignment loss",
        "dev/transport": "dev: transport loss",
        "dev/impossible": "dev: share of utterances too short for CTC",
    },
    "Optimization": {
        "train/learning_rate": "learning rate",
        "train/gradient_norm": "gradient norm",
        "train/blank_share": "share of blanks",
        "train/skipped": "skipped updates",
    },
    "Transport": {
        "train/iterations": "iterations",
        "train/marginal_error": "marginal error",
        "train/above_tolerance": "share above the tolerance",
    },
    "Throughput": {
        "train/speech_per_second": "seconds of speech per second",
        "train/data_wait": "share of time waiting for data",
        "train/memory_gb": "memory (GB)",
    },
}
COMPARED = (*GROUPS["Loss"], *list(GROUPS["Dev"])[:4], *list(GROUPS["Optimization"])[:2])
LINEAR = ("dev/cer", "train/learning_rate")  # never on a logarithmic axis
WIDE = 30.0  # ratio of the largest to the smallest value from which an axis is logarithmic
MOST_POINTS = 120


class Line(NamedTuple):
    """Curve to draw, (K,) each; ``low`` and ``high``: range of what a point is the mean of."""

    updates: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Panel(NamedTuple):
    """Attributes:
    lines: experiment -> its curve, in the order of the experiments.
    logarithmic: scale of the vertical axis.
    """

    tag: str
    title: str
    lines: dict[str, Line]
    logarithmic: bool

    @property
    def constant(self) -> float | None:
        """The value that all lines have throughout, if they do."""
        values = np.concatenate([[*line.low, *line.high] for line in self.lines.values()])
        return float(values[0]) if (values == values[0]).all() else None


def make_panels(histories: Sequence[History], tags: Iterable[str]) -> list[Panel]:
    """Panels of the tags that at least one of the histories has finite values of."""
    titles = {tag: title for group in GROUPS.values() for tag, title in group.items()}
    panels = []
    for tag in tags:
        lines = {h.name: condense(h.scalars[tag]) for h in histories if tag in h.scalars}
        lines = {name: line for name, line in lines.items() if len(line.values)}
        if lines:
            values = np.concatenate([line.values for line in lines.values()])
            wide = values.min() > 0 and values.max() > WIDE * values.min()
            logarithmic = bool(wide) and tag not in LINEAR
            panels.append(Panel(tag, titles.get(tag, tag), lines, logarithmic))
    return panels


def grouped_tags(history: History) -> dict[str, list[str]]:
    """Tags of a history by group of :data:`GROUPS`; unknown ones are ``Others``."""
    groups = {
        name: [tag for tag in tags if tag in history.scalars] for name, tags in GROUPS.items()
    }
    known = {"dev/epoch", *(tag for tags in GROUPS.values() for tag in tags)}
    groups["Others"] = sorted(history.scalars.keys() - known)
    return {name: tags for name, tags in groups.items() if tags}


def condense(curve: Curve, most: int = MOST_POINTS) -> Line:
    """Finite values of a curve; of more than ``most``, means over as many intervals."""
    finite = np.isfinite(curve.values)
    updates, values = curve.updates[finite].astype(np.float64), curve.values[finite]
    if len(values) <= most:
        return Line(updates, values, values, values)
    parts = np.array_split(values, most)
    return Line(
        np.array([part.mean() for part in np.array_split(updates, most)]),
        *(np.array([reduce(part) for part in parts]) for reduce in (np.mean, np.min, np.max)),
    )
