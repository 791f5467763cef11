"""History of a training, read from its TensorBoard event files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gmot.common import GmotError, PathLike
from gmot.provenance import BOARD


class Curve(NamedTuple):
    """Values of a scalar, (K,), float64, at updates, (K,), int64."""

    updates: np.ndarray
    values: np.ndarray


class Picture(NamedTuple):
    """A figure of the event files, as PNG, drawn after ``update`` updates."""

    update: int
    png: bytes


@dataclass(frozen=True)
class History:
    """Attributes:
    name: of the experiment.
    scalars: tag, such as ``train/loss``, -> values.
    pictures: tag -> figures, oldest first.
    hours: wall time from the first event to the last.
    """

    name: str
    scalars: dict[str, Curve] = field(default_factory=dict)
    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    hours: float = 0.0

    def epoch_of(self, update: int) -> int | None:
        """Epoch that ended with ``update``, from the tag ``dev/epoch``."""
        ends = self.scalars.get("dev/epoch")
        if ends is None or update not in ends.updates:
            return None
        return int(ends.values[ends.updates == update][-1])

    def last(self, tag: str) -> float | None:
        """Last value of a scalar."""
        return float(self.scalars[tag].values[-1]) if tag in self.scalars else None


def read_history(exp_dir: PathLike, name: str | None = None) -> History:
    """Read the event files of an experiment with TensorBoard's own reader.

    What a run wrote beyond the point from which a later one resumed is dropped as in TensorBoard.

    Args:
      exp_dir: folder of the experiment.
      name: default: that of the folder.
    Raises:
      GmotError: no event files with scalars.
    """
    from tensorboard.backend.event_processing import event_accumulator as events

    folder = Path(exp_dir) / BOARD
    if not any(folder.glob("*tfevents*")):
        raise GmotError(
            f"{folder}: no event files of a training. Train first (local/train.py), or check "
            "the folder of the experiment."
        )
    everything = {events.SCALARS: 0, events.IMAGES: 0}  # 0: no sampling
    events.logger.setLevel("ERROR")  # a warning for each resumed run
    reader = events.EventAccumulator(str(folder), size_guidance=everything).Reload()
    tags = reader.Tags()
    scalars = {tag: reader.Scalars(tag) for tag in tags["scalars"]}
    scalars = {tag: found for tag, found in scalars.items() if found}  # all of it dropped
    if not scalars:
        raise GmotError(f"{folder}: no scalars yet. Try again after some updates.")
    times = [event.wall_time for found in scalars.values() for event in found]
    images = {tag: reader.Images(tag) for tag in tags["images"]}
    return History(
        name or Path(exp_dir).resolve().name,
        {tag: _curve(found) for tag, found in scalars.items()},
        {t: [Picture(e.step, e.encoded_image_string) for e in f] for t, f in images.items() if f},
        (max(times) - min(times)) / 3600,
    )


def _curve(events: Sequence[Any]) -> Curve:
    return Curve(
        np.array([event.step for event in events], dtype=np.int64),
        np.array([event.value for event in events], dtype=np.float64),
    )


def read_histories(exp_dirs: Sequence[PathLike]) -> list[History]:
    """Histories of several experiments, with as much of their paths as tells them apart.

    Raises:
      GmotError: as :func:`read_history`, or a folder given twice.
    """
    paths = [Path(folder).resolve() for folder in exp_dirs]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise GmotError(f"--exp-dirs: {twice} is given twice. Give each experiment once.")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return [read_history(path, "/".join(path.parts[-depth:])) for path in paths]
