"""Audio of single utterances as small FLAC files, for listening."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gmot.common import GmotError, PathLike
from gmot.data.audio import audio_reason, load_samples
from gmot.data.manifests import read_manifest


class Clips(NamedTuple):
    """Attributes:
    flac: utterance -> FLAC file, 16 bit.
    left_out: utterance -> why it has none.
    """

    flac: dict[str, bytes]
    left_out: dict[str, str]


def encode_clips(
    fbank_dir: PathLike,
    prefix: str,
    split: str,
    ids: Sequence[str],
    most_each: float,
    most_together: float,
) -> Clips:
    """Encode the recordings of utterances.

    Nothing here raises an exception for missing audio: listening is a convenience.

    Args:
      fbank_dir, prefix, split: of the cuts.
      ids: utterances, in the order in which they share ``most_together``.
      most_each, most_together: limits of one file and of all, in bytes.
    """
    clips = Clips({}, {})
    try:
        cuts = _cuts(fbank_dir, prefix, split, set(ids))
    except GmotError as error:
        return Clips({}, dict.fromkeys(ids, str(error)))
    left = most_together
    for name in ids:
        flac = _encode(cuts.get(name))
        if isinstance(flac, str):
            clips.left_out[name] = flac
        elif len(flac) > most_each:
            clips.left_out[name] = f"larger than {most_each / 1e6:g} MB"
        elif len(flac) > left:
            clips.left_out[name] = f"more than {most_together / 1e6:g} MB together"
        else:
            clips.flac[name] = flac
            left -= len(flac)
    return clips


def _cuts(fbank_dir: PathLike, prefix: str, split: str, ids: set[str]) -> dict[str, Any]:
    """lhotse cuts with their recordings, by utterance."""
    from lhotse.serialization import deserialize_item

    def load(record: dict[str, Any]) -> Any:
        if record["id"] not in ids or not record.get("recording"):
            return None
        return deserialize_item({k: v for k, v in record.items() if k != "features"})

    cuts = read_manifest(fbank_dir, prefix, "cuts", split, load)
    return {cut.id: cut for cut in cuts if cut is not None}


def _encode(cut: Any) -> bytes | str:
    """FLAC file of a cut, or why there is none."""
    import soundfile

    if cut is None:
        return "no recording in the manifest of the cuts"
    files = [source.source for source in cut.recording.sources if source.type == "file"]
    if not all(Path(file).is_file() for file in files):
        return "audio file not found"
    try:
        samples = load_samples(cut)
    except Exception as error:  # lhotse's backends raise exceptions of many kinds
        return audio_reason(error)
    file = io.BytesIO()
    soundfile.write(file, samples.T, int(cut.sampling_rate), format="FLAC", subtype="PCM_16")
    return file.getvalue()
