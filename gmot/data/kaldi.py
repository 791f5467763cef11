"""Kaldi-style folders: ``wav.scp``, ``text``, optionally ``segments`` and ``utt2spk``."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from gmot.common import GmotError, read_utf8, require_file
from gmot.data.audio import describe_audio

log = logging.getLogger(__name__)

TO_THE_END = -1.0  # Kaldi's end of a segment that extends to the end of its recording
MAX_OVERSHOOT = 0.5  # seconds by which a segment may exceed its recording, as in Kaldi
WHOLE = "all"  # name of the only split of a corpus without splits
ROUNDING = 0.01  # seconds; smaller overshoot is not reported


class Segment(NamedTuple):
    """A line of ``segments``, or a complete recording; times in seconds."""

    recording: str
    start: float = 0.0
    end: float | None = None  # None: the end of the recording
    channel: str | None = None  # None: no column names it


@dataclass
class Split:
    """A split of a corpus while its manifests are made."""

    name: str
    recordings: dict[str, Any] = field(default_factory=dict)  # lhotse's, by id
    supervisions: dict[str, Any] = field(default_factory=dict)
    excluded: list[tuple[str, str]] = field(default_factory=list)  # (utterance id, reason)

    def exclude(self, utterance: str, reason: str) -> None:
        self.supervisions.pop(utterance, None)
        self.excluded.append((utterance, reason))


def read_kaldi_split(
    folder: Path, name: str, num_jobs: int = 4, channel: int | None = None
) -> Split:
    """Read the folder of a split; ``num_jobs`` audio files are opened at a time.

    Paths in ``wav.scp`` are absolute, relative to the folder, or relative to its parent.
    ``channel`` is that of audio with several for which ``segments`` names none; None: such audio
    is excluded.

    Raises:
      GmotError: a file is missing, empty or malformed.
    """
    remedy = "A split is a folder with wav.scp ('id path' lines) and text ('id transcript' lines)."
    wavs = read_table(require_file(folder / "wav.scp", f"audio list of '{name}'", remedy))
    texts = read_table(require_file(folder / "text", f"transcripts of '{name}'", remedy))
    speakers = read_table(folder / "utt2spk") if (folder / "utt2spk").exists() else {}
    piped = next((key for key, path in wavs.items() if path.endswith("|")), None)
    if piped is not None:
        raise GmotError(
            f"{folder / 'wav.scp'}: '{piped}' is a command, not a file. "
            "Run the commands once and list the audio files that they write."
        )
    if (folder / "segments").exists():
        segments = _read_segments(folder / "segments")
    else:
        segments = {utterance: Segment(utterance) for utterance in wavs}
    recordings = open_recordings(
        {k: _find_audio(folder, wav) for k, wav in wavs.items()}, name, num_jobs
    )
    split = make_split(name, segments, texts, speakers, recordings, channel)
    for utterance in texts:
        if utterance not in segments:
            split.exclude(utterance, "transcript without audio")
    return split


def _find_audio(folder: Path, wav: str) -> Path:
    """File of ``wav.scp``, relative to the folder or (as Kaldi's, run from there) its parent."""
    path, above = folder / wav, folder.parent / wav
    return above if not path.exists() and above.exists() else path


def open_recordings(files: Mapping[str, Path], name: str, num_jobs: int) -> dict[str, Any]:
    """lhotse's recordings of audio files (id -> path), or the reasons why there are none."""
    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        found = pool.map(lambda item: describe_audio(*item), files.items())
        bar = tqdm(found, desc=f"audio of {name}", total=len(files), unit="file", disable=None)
        return {key: recording for recording, key in zip(bar, files)}


def make_split(
    name: str,
    segments: Mapping[str, Segment],
    texts: Mapping[str, str],
    speakers: Mapping[str, str],
    recordings: Mapping[str, Any],
    channel: int | None = None,
) -> Split:
    """Split of the segments with recording and transcript; the others are excluded.

    Args:
      segments, texts, speakers: of utterances.
      recordings: those of :func:`open_recordings`.
      channel: see :func:`read_kaldi_split`.
    """
    from lhotse import SupervisionSegment

    split = Split(name, {key: r for key, r in recordings.items() if not isinstance(r, str)})
    trimmed = []
    for utterance, segment in segments.items():
        absent = f"'{segment.recording}' is not in wav.scp"
        recording = recordings.get(segment.recording, absent)
        if isinstance(recording, str):
            found = recording
        else:
            found = _extent(segment, recording, channel) if utterance in texts else "no transcript"
        if isinstance(found, str):
            split.exclude(utterance, found)
            continue
        overshoot = (segment.end or 0) - recording.duration
        if overshoot > ROUNDING:
            trimmed.append((overshoot, utterance))
        text, speaker = texts[utterance], speakers.get(utterance) or None
        split.supervisions[utterance] = SupervisionSegment(
            utterance, segment.recording, *found, text=text, speaker=speaker
        )
    if trimmed:
        log.warning(
            "split '%s': %d segments trimmed to the end of their audio, by up to %.2f s (%s)",
            *(split.name, len(trimmed), *max(trimmed)),
        )
    return split


def read_table(path: Path) -> dict[str, str]:
    """``key value...`` lines; the value may be empty.

    Raises:
      GmotError: the file is not UTF-8, or a key is repeated.
    """
    table: dict[str, str] = {}
    repeated = []
    # Not splitlines(), which also splits at characters that occur in transcripts.
    for line in read_utf8(path, "utf-8-sig").split("\n"):
        if not line.strip():
            continue
        key, *value = line.split(maxsplit=1)
        if key in table:
            repeated.append(key)
        table[key] = value[0].strip() if value else ""
    refuse_repeated(repeated, path)
    return table


def _read_segments(path: Path) -> dict[str, Segment]:
    segments = {}
    for utterance, value in read_table(path).items():
        try:
            key, start, end, *channel = value.split()
            until = None if float(end) == TO_THE_END else float(end)
            segments[utterance] = Segment(key, float(start), until, *channel)
        except (TypeError, ValueError):
            raise GmotError(
                f"{path}: '{utterance} {value}', expected 'utterance recording start end' with "
                "times in seconds, and optionally a channel."
            ) from None
    return segments


def _extent(
    segment: Segment, recording: Any, default: int | None
) -> str | tuple[float, float, int]:
    """Start, duration and channel of a segment, or the reason why it cannot be used."""
    channels = recording.channel_ids
    channel: Any = segment.channel
    if channel is None:
        if len(channels) > 1 and default is None:
            expected = "expected 1, or the number of one in a fifth column of segments"
            return f"{len(channels)} channels, {expected}, or --channel"
        channel = channels[0] if len(channels) == 1 else default
    if str(channel) not in map(str, channels):
        return f"channel {channel} of audio with {len(channels)} channels, numbered from 0"
    total = recording.duration
    start, end = segment.start, total if segment.end is None else segment.end
    if not (0 <= start < min(end, total) and end <= total + MAX_OVERSHOOT):
        return f"invalid segment: {start} to {end} s of audio of {total} s"
    end = min(end, total)
    complete = start == 0 and end == total
    return start, total if complete else round(end - start, ndigits=8), int(channel)


def refuse_repeated(ids: Sequence[str], where: Any) -> None:
    """Raises GmotError if there are ids."""
    if ids:
        raise GmotError(
            f"{where}: {len(ids)} ids occur more than once: {first_five(ids)}. Ids must be unique."
        )


def first_five(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
