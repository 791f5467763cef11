"""Kaldi-style folders: ``wav.scp``, ``text``, optionally ``segments`` and ``utt2spk``."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from tqdm import tqdm

from gmot.common import GmotError, read_utf8, require_file
from gmot.data.audio import describe_audio

log = logging.getLogger(__name__)

TO_THE_END = -1.0  # Kaldi's end of a segment that lasts to the end of its recording
MAX_OVERSHOOT = 0.5  # seconds by which a segment may exceed its recording, as in Kaldi
ROUNDING = 0.01  # seconds; overshoot that is not worth a word


@dataclass(frozen=True)
class Segment:
    """A line of ``segments``, or a whole recording.

    ``end`` is None at the end of the recording; ``channel`` is None where no column names it.
    """

    recording: str
    start: float = 0.0
    end: Optional[float] = None
    channel: Optional[str] = None


@dataclass
class Part:
    """One part of a corpus while its manifests are made.

    ``recordings`` and ``supervisions`` are lhotse's objects by id; ``excluded``
    is what was left out: ``(utterance id, reason)``.
    """

    name: str
    recordings: Dict[str, Any] = field(default_factory=dict)
    supervisions: Dict[str, Any] = field(default_factory=dict)
    excluded: List[Tuple[str, str]] = field(default_factory=list)

    def exclude(self, utterance: str, reason: str) -> None:
        self.supervisions.pop(utterance, None)
        self.excluded.append((utterance, reason))


def read_kaldi_part(folder: Path, name: str, num_jobs: int = 4) -> Part:
    """Read ``wav.scp``, ``text`` and, where they are, ``segments`` and ``utt2spk``."""
    from lhotse import SupervisionSegment

    remedy = "A part is a folder with wav.scp ('id path' lines) and text ('id transcript' lines)."
    wavs = read_table(require_file(folder / "wav.scp", f"audio list of '{name}'", remedy))
    texts = read_table(require_file(folder / "text", f"transcripts of '{name}'", remedy))
    speakers = read_table(folder / "utt2spk") if (folder / "utt2spk").exists() else {}
    piped = next((key for key, path in wavs.items() if path.endswith("|")), None)
    if piped is not None:
        raise GmotError(
            f"{folder / 'wav.scp'}: '{piped}' is a command, not a file. "
            "Run the commands once and list the audio files they make."
        )
    if (folder / "segments").exists():
        segments = _read_segments(folder / "segments")
    else:
        segments = {utterance: Segment(utterance) for utterance in wavs}

    part = Part(name)
    broken: Dict[str, str] = {}

    def describe(item: Tuple[str, str]) -> Tuple[str, Any]:
        return item[0], describe_audio(item[0], folder / item[1])

    with ThreadPoolExecutor(max(1, num_jobs)) as pool:
        described = pool.map(describe, wavs.items())
        for key, result in tqdm(
            described, desc=f"audio of {name}", total=len(wavs), unit="file", disable=None
        ):
            if isinstance(result, str):
                broken[key] = result
            else:
                part.recordings[key] = result

    trimmed = []
    for utterance, segment in segments.items():
        recording = part.recordings.get(segment.recording)
        if recording is None:
            part.exclude(
                utterance, broken.get(segment.recording, f"'{segment.recording}' is not in wav.scp")
            )
            continue
        if utterance not in texts:
            part.exclude(utterance, "no transcript")
            continue
        place = _place(segment, recording)
        if isinstance(place, str):
            part.exclude(utterance, place)
            continue
        start, duration, channel = place
        overshoot = (segment.end or 0) - recording.duration
        if overshoot > ROUNDING:
            trimmed.append((overshoot, utterance))
        part.supervisions[utterance] = SupervisionSegment(
            id=utterance,
            recording_id=segment.recording,
            start=start,
            duration=duration,
            channel=channel,
            text=texts[utterance],
            speaker=speakers.get(utterance) or None,
        )
    if trimmed:
        log.warning(
            "part '%s': %d segments trimmed to the end of their audio, by up to %.2f s (%s)",
            *(name, len(trimmed), *max(trimmed)),
        )
    for utterance in texts:
        if utterance not in segments:
            part.exclude(utterance, "transcript without audio")
    return part


def read_table(path: Path) -> Dict[str, str]:
    """``key value...`` lines; the value may be empty."""
    table: Dict[str, str] = {}
    repeated = []
    # Not splitlines(): it also splits at characters that stand in transcripts.
    for line in read_utf8(path, "utf-8-sig").split("\n"):
        if not line.strip():
            continue
        key, *value = line.split(maxsplit=1)
        if key in table:
            repeated.append(key)
        table[key] = value[0].strip() if value else ""
    refuse_repeated(repeated, path)
    return table


def _read_segments(path: Path) -> Dict[str, Segment]:
    segments = {}
    for utterance, value in read_table(path).items():
        try:
            key, start, end, *channel = value.split()
            if len(channel) > 1:
                raise ValueError
            segments[utterance] = Segment(
                key,
                float(start),
                None if float(end) == TO_THE_END else float(end),
                channel[0] if channel else None,
            )
        except ValueError:
            raise GmotError(
                f"{path}: '{utterance} {value}', expected 'utterance recording start end' with "
                "numbers of seconds, and perhaps a channel."
            ) from None
    return segments


def _place(segment: Segment, recording: Any) -> Union[str, Tuple[float, float, int]]:
    """Start, duration and channel of a segment, or the reason why it cannot be used."""
    channels = recording.channel_ids
    channel = segment.channel
    if channel is None:
        if len(channels) > 1:
            return (
                f"{len(channels)} channels, expected 1, or the number of one in a fifth column of "
                "segments"
            )
        channel = channels[0]
    elif channel not in map(str, channels):
        return f"channel {channel} of audio with {len(channels)} channels, numbered from 0"
    total = recording.duration
    start, end = segment.start, total if segment.end is None else segment.end
    if not (0 <= start < min(end, total) and end <= total + MAX_OVERSHOOT):
        return f"invalid segment: {start} to {end} s of audio of {total} s"
    end = min(end, total)
    whole = start == 0 and end == total
    return start, total if whole else round(end - start, ndigits=8), int(channel)


def refuse_repeated(ids: Sequence[str], where: Any) -> None:
    if ids:
        raise GmotError(
            f"{where}: {len(ids)} ids occur more than once: {', '.join(ids[:5])}"
            f"{', ...' if len(ids) > 5 else ''}. Ids must be unique."
        )
