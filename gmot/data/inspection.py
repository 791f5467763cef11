"""Inspection of a corpus before a recipe is made for it: audio, duplicates, speakers, splits."""

import hashlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gmot.data.audio import audio_reason, load_samples
from gmot.data.kaldi import Split

DECODED = 200  # files that are decoded, not only opened
SILENT = 1e-4  # largest magnitude of samples, below which audio is silent
CLIPPED = 0.001  # share of samples of full scale, above which audio is clipped
MOST_PER_SECOND = 40.0  # characters that nobody speaks in a second


@dataclass
class AudioStatistics:
    """Audio of a corpus.

    Attributes:
      rates, channels, formats: files of each sampling rate (Hz), number of channels, suffix.
      durations: of the utterances, in seconds, sorted.
      decoded: number of files that were decoded; of them:
      unreadable: (recording, reason); silent, clipped: recordings.
      copies: utterance -> an earlier one with the same audio.
    """

    rates: Counter = field(default_factory=Counter)
    channels: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    durations: np.ndarray = field(default_factory=lambda: np.zeros(0))
    decoded: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)

    @property
    def hours(self) -> float:
        return float(self.durations.sum() / 3600)


def inspect_audio(splits: Sequence[Split], num_jobs: int, seed: int = 0) -> AudioStatistics:
    """Statistics of the audio of all splits.

    :data:`DECODED` files, chosen at random by ``seed``, are decoded; the features of the others
    are the first to decode them (those that cannot be decoded are excluded there).
    """
    found = AudioStatistics()
    recordings = {id(r): r for split in splits for r in split.recordings.values()}
    for recording in recordings.values():
        found.rates[recording.sampling_rate] += 1
        found.channels[recording.num_channels] += 1
        found.formats[_suffix(recording)] += 1
    durations = [s.duration for split in splits for s in split.supervisions.values()]
    found.durations = np.sort(np.array(durations))
    found.copies = find_copies(splits)
    utterances = [
        (split.recordings[s.recording_id], s)
        for split in splits
        for s in split.supervisions.values()
        if s.recording_id in split.recordings
    ]
    chosen = random.Random(seed).sample(utterances, min(DECODED, len(utterances)))
    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        for (_, supervision), fault in zip(chosen, pool.map(_decode, chosen)):
            found.decoded += 1
            if fault in ("silent", "clipped"):
                getattr(found, fault).append(supervision.id)
            elif fault:
                found.unreadable.append((supervision.id, fault))
    return found


def _suffix(recording: Any) -> str:
    source = recording.sources[0]
    return Path(str(source.source)).suffix.lower() or source.type


def _decode(item: tuple[Any, Any]) -> str:
    """Fault of an utterance's audio: silent, clipped, or why it is unreadable; or nothing."""
    from lhotse import MonoCut

    recording, supervision = item
    channel = supervision.channel
    cut = MonoCut(
        id=supervision.id,
        start=supervision.start,
        duration=min(supervision.duration, recording.duration - supervision.start),
        channel=channel[0] if isinstance(channel, list) else channel,
        recording=recording,
    )
    try:
        samples = np.abs(load_samples(cut)[0])
    except Exception as error:  # lhotse's backends raise exceptions of many kinds
        return audio_reason(error)
    largest = float(samples.max(initial=0.0))
    if largest < SILENT:
        return "silent"
    return "clipped" if (samples >= 0.999).mean() > CLIPPED else ""


def find_copies(splits: Sequence[Split]) -> dict[str, str]:
    """Utterances with the audio of an earlier one -> that one.

    Files are compared by content where their sizes are equal; utterances of one file by their time
    and channel.
    """
    by_size: dict[int, set[str]] = defaultdict(set)
    for split in splits:
        for recording in split.recordings.values():
            for path in _paths(recording):
                by_size[Path(path).stat().st_size].add(path)
    content: dict[str, str] = {}
    for paths in by_size.values():
        if len(paths) > 1:
            content.update({path: _digest(path) for path in paths})
    first: dict[tuple, str] = {}
    copies = {}
    for split in splits:
        for supervision in split.supervisions.values():
            recording = split.recordings.get(supervision.recording_id)
            paths = _paths(recording) if recording is not None else []
            if not paths:
                continue
            audio = tuple(content.get(path, path) for path in paths)
            key = (audio, supervision.start, supervision.duration, str(supervision.channel))
            other = first.setdefault(key, supervision.id)
            if other != supervision.id:
                copies[supervision.id] = other
    return copies


def _paths(recording: Any) -> list[str]:
    files = [str(source.source) for source in recording.sources if source.type == "file"]
    return [path for path in files if Path(path).is_file()]


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def shared_values(values: Mapping[str, Iterable[Any]]) -> dict[tuple[str, str], list[Any]]:
    """Values (speakers, texts) that two splits share, by the pair of splits."""
    sets = {name: set(items) - {None, ""} for name, items in values.items()}
    return {
        (a, b): shared
        for a, b in itertools.combinations(sets, 2)
        if (shared := sorted(sets[a] & sets[b]))
    }


def too_fast(splits: Sequence[Split]) -> list[tuple[str, float]]:
    """Utterances of more characters per second than is spoken, the fastest first."""
    found = [
        (s.id, len("".join((s.text or "").split())) / max(s.duration, 0.01))
        for split in splits
        for s in split.supervisions.values()
    ]
    return sorted((p for p in found if p[1] > MOST_PER_SECOND), key=lambda p: -p[1])
