"""Kaldi-style folders: ``wav.scp``, ``text``, optionally ``segments`` and ``utt2spk``."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from tqdm import tqdm

from gmot.common import GmotError, require_file


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
    segments: Dict[str, Tuple[str, float, Optional[float]]]
    if (folder / "segments").exists():
        segments = _read_segments(folder / "segments")
    else:
        segments = {utterance: (utterance, 0.0, None) for utterance in wavs}

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

    for utterance, (key, start, end) in segments.items():
        recording = part.recordings.get(key)
        if recording is None:
            part.exclude(utterance, broken.get(key, f"'{key}' is not in wav.scp"))
        elif utterance not in texts:
            part.exclude(utterance, "no transcript")
        elif end is not None and not 0 <= start < end <= recording.duration + 0.01:
            part.exclude(
                utterance, f"segment {start} to {end} s of audio of {recording.duration} s"
            )
        else:
            end = recording.duration if end is None else min(end, recording.duration)
            part.supervisions[utterance] = SupervisionSegment(
                id=utterance,
                recording_id=key,
                start=start,
                duration=recording.duration
                if start == 0 and end == recording.duration
                else round(end - start, ndigits=8),
                channel=0,
                text=texts[utterance],
                speaker=speakers.get(utterance),
            )
    for utterance in texts:
        if utterance not in segments:
            part.exclude(utterance, "transcript without audio")
    return part


def describe_audio(key: str, path: Path) -> Any:
    """A recording (lhotse's), or the reason why there is none."""
    from lhotse import Recording

    path = path.absolute()
    if not path.is_file():
        return f"no such file: {path}"
    try:
        # lhotse's backends raise exceptions of many kinds on bad audio.
        recording = Recording.from_file(path, recording_id=key)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"unreadable audio: {path}: {lines[-1].strip()}"
    if recording.num_samples == 0:
        return f"no samples in {path}"
    return recording


def read_table(path: Path) -> Dict[str, str]:
    """``key value...`` lines; the value may be empty."""
    table: Dict[str, str] = {}
    repeated = []
    try:
        # Not splitlines(): it also splits at characters that stand in transcripts.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise GmotError(f"{path}: not UTF-8 ({error}). Convert it with iconv.") from None
    for line in lines:
        if not line.strip():
            continue
        key, *value = line.split(maxsplit=1)
        if key in table:
            repeated.append(key)
        table[key] = value[0].strip() if value else ""
    refuse_repeated(repeated, path)
    return table


def _read_segments(path: Path) -> Dict[str, Tuple[str, float, Optional[float]]]:
    segments = {}
    for utterance, value in read_table(path).items():
        try:
            key, start, end = value.split()
            segments[utterance] = (key, float(start), float(end))
        except ValueError:
            raise GmotError(
                f"{path}: '{utterance} {value}', expected 'utterance recording start end'"
            ) from None
    return segments


def refuse_repeated(ids: Sequence[str], where: Any) -> None:
    if ids:
        raise GmotError(
            f"{where}: {len(ids)} ids occur more than once: {', '.join(ids[:5])}"
            f"{', ...' if len(ids) > 5 else ''}. Ids must be unique."
        )
