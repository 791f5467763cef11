"""Checks of the cuts and features of a split, before they are trained on."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmot.common import GmotError, PathLike
from gmot.data.archive import DTYPE, NOT_STORED, HalfArchiveReader, parse_key
from gmot.data.features import load_cuts
from gmot.data.manifests import manifest_path
from gmot.data.pitch import NUM_PITCH

log = logging.getLogger(__name__)

TOLERANCE = 2e-3  # seconds between the ends of a cut and of its supervision, as in icefall
SHOWN = 10  # problems that an error lists
# Percentiles of the durations that are reported, and their names.
PERCENTILES = {0: "shortest", **{n: f"{n} %" for n in (1, 25, 50, 75, 95, 99)}, 100: "longest"}


@dataclass(frozen=True)
class Statistics:
    """Size of a split, copies of other speeds included."""

    utterances: int
    characters: int
    hours: float
    originals: tuple[int, int, int]  # utterances, speakers, characters without these copies
    seconds: dict[str, float]  # PERCENTILES and mean of the durations

    def __str__(self) -> str:
        seconds = ", ".join(f"{name} {value:.2f}" for name, value in self.seconds.items())
        return (
            f"{self.utterances} utterances, {self.characters} characters, {self.hours:.3f} hours; "
            f"seconds: {seconds}"
        )


def validate_cuts(
    fbank_dir: PathLike,
    prefix: str,
    split: str,
    sampling_rate: int = 16000,
    num_mel_bins: int = 80,
    pitch: bool = False,
) -> Statistics:
    """Check every cut of a split.

    ``sampling_rate`` (Hz), ``num_mel_bins`` and ``pitch`` (pitch features after them) are expected.

    Raises:
      GmotError: names the first utterances with a problem.
    """
    cuts = load_cuts(fbank_dir, prefix, split)
    problems, ids = [], set()
    num_features = expected_features(num_mel_bins, pitch)
    for cut in cuts:
        problems += [f"{cut.id}: {p}" for p in _problems(cut, sampling_rate, num_features)]
        if cut.id in ids:
            problems.append(f"{cut.id}: occurs more than once")
        ids.add(cut.id)
    if problems:
        shown = "\n  ".join(problems[:SHOWN])
        raise GmotError(
            f"{manifest_path(fbank_dir, prefix, 'cuts', split)}: {len(problems)} problems with "
            f"{len(cuts)} utterances:\n  {shown}\nFix the corpus or its manifests and run "
            "their stages again."
        )
    durations = np.array([cut.duration for cut in cuts])
    levels = dict(zip(PERCENTILES.values(), np.percentile(durations, [*PERCENTILES])))
    copies = re.compile(r"(.+)_sp[\d.]+")
    originals = [c for c in cuts if not ((m := copies.fullmatch(c.id)) and m.group(1) in ids)]
    speakers = {cut.supervisions[0].speaker for cut in originals}
    return Statistics(
        utterances=len(cuts),
        characters=_num_characters(cuts),
        hours=float(durations.sum() / 3600),
        originals=(len(originals), len(speakers), _num_characters(originals)),
        seconds={**levels, "mean": durations.mean()},
    )


def _num_characters(cuts: Sequence[Any]) -> int:
    return sum(len("".join(cut.supervisions[0].text.split())) for cut in cuts)


def compare_size(split: str, statistics: Statistics, expected: str, strict: bool = False) -> bool:
    """Whether the size of a split is the published one; a difference is logged.

    ``expected``: ``UTTERANCES[:SPEAKERS[:CHARACTERS]]``, without copies of other speeds.

    Raises:
      GmotError: ``expected`` is malformed, or they differ and ``strict`` is set.
    """
    if not re.fullmatch(r"\d+(:\d+){0,2}", expected):
        raise GmotError(
            f"--expect {split}={expected}: expected {split}=UTTERANCES[:SPEAKERS[:CHARACTERS]]."
        )
    names = ("utterances", "speakers", "characters")
    differences = [
        f"{found:,} {name}, expected {int(number):,}"
        for name, found, number in zip(names, statistics.originals, expected.split(":"))
        if found != int(number)
    ]
    if not differences:
        return True
    message = f"split '{split}' differs from the published corpus: {'; '.join(differences)}"
    if strict:
        raise GmotError(f"{message}. Complete the corpus, or continue without --strict.")
    log.warning("%s (excluded.txt of the manifests lists excluded utterances)", message)
    return False


def expected_features(num_mel_bins: int, pitch: bool) -> int:
    """Feature dimension of the fbank stage with these options."""
    return num_mel_bins + (NUM_PITCH if pitch else 0)


def _problems(cut: Any, sampling_rate: int, num_features: int) -> Iterator[str]:
    if len(cut.supervisions) != 1:
        yield f"{len(cut.supervisions)} supervisions, expected 1"
        return
    supervision, features = cut.supervisions[0], cut.features
    if not (supervision.text or "").strip():
        yield "empty text"
    if supervision.start < -TOLERANCE or supervision.end > cut.duration + TOLERANCE:
        yield (
            f"supervision from {supervision.start} to {supervision.end} s, "
            f"expected within {cut.duration} s"
        )
    if cut.sampling_rate != sampling_rate:
        yield f"sampling rate {cut.sampling_rate} Hz, expected {sampling_rate} Hz"
    if features.num_features != num_features:
        yield f"{features.num_features} bins, expected {num_features}"
    if cut.num_frames < 1 or abs(features.duration - cut.duration) > TOLERANCE + 0.01:
        yield f"features of {features.duration} s for {cut.duration} s of speech"
    path = Path(features.storage_path)
    if features.storage_type == NOT_STORED:
        yield from _recording_problems(cut)
    elif not path.exists():
        yield f"no features: {path} does not exist"
    elif features.storage_type == HalfArchiveReader.name:
        offset, frames, bins = parse_key(features.storage_key)
        if (offset + frames * bins) * DTYPE.itemsize > path.stat().st_size:
            yield f"features beyond the end of {path}"


def _recording_problems(cut: Any) -> Iterator[str]:
    for source in cut.recording.sources if cut.has_recording else []:
        if source.type == "file" and not Path(source.source).is_file():
            yield f"no audio: {source.source} does not exist"
    if not cut.has_recording:
        yield "neither features nor a recording"
