"""Checks of a part's cuts and features, before hours are spent on them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List

import numpy as np

from gmot.common import GmotError, PathLike
from gmot.data.archive import DTYPE, HalfArchiveReader, parse_key
from gmot.data.features import cuts_path, load_cuts
from gmot.data.pitch import NUM_PITCH

TOLERANCE = 2e-3  # seconds between a cut's and its supervision's end, as in icefall
SHOWN = 10  # problems that an error names


@dataclass(frozen=True)
class Statistics:
    """What a part consists of; durations in seconds."""

    utterances: int
    characters: int
    hours: float
    shortest: float
    percentiles: List[float]  # 1, 25, 50, 75, 95, 99 % of the utterances are shorter
    mean: float
    longest: float

    PERCENTILES = (1, 25, 50, 75, 95, 99)

    def __str__(self) -> str:
        levels = ", ".join(
            f"{level} %: {value:.2f}" for level, value in zip(self.PERCENTILES, self.percentiles)
        )
        return (
            f"{self.utterances} utterances, {self.characters} characters, {self.hours:.3f} hours; "
            f"seconds: shortest {self.shortest:.2f}, {levels}, longest {self.longest:.2f}, "
            f"mean {self.mean:.2f}"
        )


def validate_cuts(
    fbank_dir: PathLike,
    prefix: str,
    part: str,
    sampling_rate: int = 16000,
    num_mel_bins: int = 80,
    pitch: bool = False,
) -> Statistics:
    """Check every cut of a part.

    Args:
      fbank_dir: holds its cuts and features.
      prefix: first part of the file names.
      part: which part.
      sampling_rate: expected, in Hz.
      num_mel_bins: expected of the filter bank.
      pitch: whether the features of the pitch are expected beside it.

    Returns:
      Its statistics.

    Raises:
      GmotError: names the first utterances that something is wrong with.
    """
    cuts = load_cuts(fbank_dir, prefix, part)
    problems = []
    seen = set()
    num_features = expected_features(num_mel_bins, pitch)
    for cut in cuts:
        problems += [f"{cut.id}: {p}" for p in _problems(cut, sampling_rate, num_features)]
        if cut.id in seen:
            problems.append(f"{cut.id}: occurs more than once")
        seen.add(cut.id)
    if problems:
        shown = "\n  ".join(problems[:SHOWN])
        raise GmotError(
            f"{cuts_path(fbank_dir, prefix, part)}: {len(problems)} problems with "
            f"{len(cuts)} utterances:\n  {shown}\nMend the corpus or its manifests and run "
            "their stages again."
        )
    durations = np.array([cut.duration for cut in cuts])
    return Statistics(
        utterances=len(cuts),
        characters=sum(len("".join(cut.supervisions[0].text.split())) for cut in cuts),
        hours=float(durations.sum() / 3600),
        shortest=float(durations.min()),
        percentiles=np.percentile(durations, Statistics.PERCENTILES).tolist(),
        mean=float(durations.mean()),
        longest=float(durations.max()),
    )


def expected_features(num_mel_bins: int, pitch: bool) -> int:
    """Columns of the features of the fbank stage with these options."""
    return num_mel_bins + (NUM_PITCH if pitch else 0)


def _problems(cut: Any, sampling_rate: int, num_features: int) -> Iterator[str]:
    if len(cut.supervisions) != 1:
        yield f"{len(cut.supervisions)} supervisions, expected 1"
        return
    supervision, features = cut.supervisions[0], cut.features
    if not (supervision.text or "").strip():
        yield "its text is empty"
    if supervision.start < -TOLERANCE or supervision.end > cut.duration + TOLERANCE:
        yield (
            f"its supervision is from {supervision.start} to {supervision.end} s, "
            f"outside of its {cut.duration} s"
        )
    if cut.sampling_rate != sampling_rate:
        yield f"sampling rate {cut.sampling_rate} Hz, expected {sampling_rate} Hz"
    if features.num_features != num_features:
        yield f"{features.num_features} bins, expected {num_features}"
    if cut.num_frames < 1 or abs(features.duration - cut.duration) > TOLERANCE + 0.01:
        yield f"features of {features.duration} s for {cut.duration} s of speech"
    path = Path(features.storage_path)
    if not path.exists():
        yield f"its features are not there: {path}"
    elif features.storage_type == HalfArchiveReader.name:
        offset, frames, bins = parse_key(features.storage_key)
        if (offset + frames * bins) * DTYPE.itemsize > os.stat(path).st_size:
            yield f"its features lie beyond the end of {path}"
