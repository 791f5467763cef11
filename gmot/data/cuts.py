"""Cuts of a split as columns: a few arrays that processes share, instead of objects per cut."""

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gmot.common import GmotError, PathLike, fingerprint
from gmot.data import archive, shar
from gmot.data.manifests import manifest_path, read_manifest
from gmot.data.on_the_fly import compute_features

_NOT_AUDIO = ("supervisions", "features", "custom")  # of a cut's record


class Strings(Sequence[str]):
    """Strings in one block of bytes."""

    def __init__(self, encoded: Sequence[bytes]):
        self._data = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Strings":
        return cls([_encode(text) for text in texts])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> str:  # of one string
        index = range(len(self))[index]
        return _decode(self._data[self._ends[index] : self._ends[index + 1]])

    def __iter__(self) -> Iterator[str]:
        ends = self._ends.tolist()
        return (_decode(self._data[start:end]) for start, end in zip(ends, ends[1:]))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._data, self._ends.tobytes())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


class Source(NamedTuple):
    """Properties shared by the cuts of one archive."""

    type: str  # of the features, lhotse's name
    num_features: int
    frame_shift: float  # in seconds
    sampling_rate: int  # in Hz
    storage_type: str
    path: str


@dataclass(frozen=True)
class Cut:
    """One utterance."""

    id: str
    text: str
    speaker: str | None
    duration: float  # in seconds
    num_frames: int
    num_features: int


@dataclass(frozen=True, eq=False)
class CutTable(Sequence[Cut]):
    """Utterances of a split, N cuts with T distinct texts."""

    ids: Strings  # (N,)
    durations: np.ndarray  # (N,) float64, in seconds
    num_frames: np.ndarray  # (N,) int32
    texts: Strings  # (T,), in the order of their first cuts
    text_index: np.ndarray  # (N,) int32, of a cut's text
    speakers: Strings
    speaker_index: np.ndarray  # (N,) int32; -1: unknown
    sources: list[Source]
    source_index: np.ndarray  # (N,) int32
    keys: Strings  # (N,), of the stored features
    first_frames: np.ndarray  # (N,) int32, of a cut in its stored features
    # (N,), cuts with their audio as lhotse's JSON, where features are computed from it.
    recordings: Strings | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: Any) -> Cut:  # of one cut
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row = row % len(self)
        speaker = int(self.speaker_index[row])
        return Cut(
            id=self.ids[row],
            text=self.text(row),
            speaker=self.speakers[speaker] if speaker >= 0 else None,
            duration=float(self.durations[row]),
            num_frames=int(self.num_frames[row]),
            num_features=self.source(row).num_features,
        )

    def text(self, row: int) -> str:
        return self.texts[self.text_index[row]]

    def source(self, row: int) -> Source:
        return self.sources[self.source_index[row]]

    def load_features(self, row: int) -> np.ndarray:
        """Features ``(T, F)`` float32 of a cut, stored or computed.

        Raises:
          GmotError: they cannot be read, or the audio cannot.
        """
        from lhotse.features.io import get_reader
        from lhotse.serialization import deserialize_item

        source, first = self.source(row), int(self.first_frames[row])
        if self.recordings is not None and (recording := self.recordings[row]):
            cut = deserialize_item(json.loads(recording))
            features = compute_features(cut, source.type, source.num_features)
            return features[: int(self.num_frames[row])]
        try:
            reader = get_reader(source.storage_type)(source.path)
            return reader.read(self.keys[row], first, first + int(self.num_frames[row]))
        except (EOFError, OSError, ValueError) as error:
            raise GmotError(
                f"features of '{self.ids[row]}' cannot be read from {source.path} ({error}). "
                "Run the fbank stage again: it computes this file anew."
            ) from error


def read_cuts(fbank_dir: PathLike, prefix: str, split: str, on_the_fly: bool = False) -> CutTable:
    """Cuts of a split, read without lhotse's objects.

    Feature files are found relative to ``fbank_dir``, so the folder may be moved. A split without
    a cut list may be a Shar folder (:mod:`gmot.data.shar`).

    Args:
      on_the_fly: compute features that are stored, too.

    Raises:
      GmotError: the manifest is missing, broken or empty, or features are neither stored nor can
        be computed.
    """
    archive.register()
    shar.register()
    columns = _Columns(Path(fbank_dir), on_the_fly)
    folder = shar.shar_folder(fbank_dir, prefix, split)
    if folder.is_dir() and not manifest_path(fbank_dir, prefix, "cuts", split).exists():
        shar.read_shar(folder, columns.add)
    else:
        read_manifest(fbank_dir, prefix, "cuts", split, columns.add)
    return columns.table()


class _Distinct(dict[Any, int]):
    """Value -> its number, in the order of their first occurrence."""

    def __missing__(self, value: Any) -> int:
        self[value] = number = len(self)
        return number


class _Columns:
    """Columns of a :class:`CutTable` that is being read."""

    def __init__(self, folder: Path, on_the_fly: bool):
        self.folder, self.on_the_fly = folder, on_the_fly
        self.ids: list[bytes] = []
        self.keys: list[bytes] = []
        self.durations: list[float] = []
        self.offsets: list[float] = []  # seconds from the features' start to the cut's
        self.text_index: list[int] = []
        self.speaker_index: list[int] = []
        self.source_index: list[int] = []
        self.recordings: list[bytes] = []  # empty: the features are stored
        self.texts, self.speakers, self.sources = _Distinct(), _Distinct(), _Distinct()

    def add(self, record: dict[str, Any]) -> None:
        """Append a cut of a manifest."""
        features = record["features"]
        if not record["supervisions"]:
            raise ValueError(f"'{record['id']}' has no supervision")
        supervision = record["supervisions"][0]
        source = Source(
            features["type"],
            features["num_features"],
            features["frame_shift"],
            features["sampling_rate"],
            features["storage_type"],
            features["storage_path"],
        )
        speaker = supervision.get("speaker")
        if self.on_the_fly or source.storage_type == archive.NOT_STORED:
            if not record.get("recording"):
                raise ValueError(f"'{record['id']}' has no recording to compute features of")
            kept = {key: value for key, value in record.items() if key not in _NOT_AUDIO}
            self.recordings.append(_encode(json.dumps(kept, ensure_ascii=False)))
        else:
            self.recordings.append(b"")
        self.ids.append(_encode(record["id"]))
        self.keys.append(_encode(features["storage_key"]))
        self.durations.append(record["duration"])
        self.offsets.append(record["start"] - features["start"])
        self.text_index.append(self.texts[supervision["text"]])
        self.speaker_index.append(-1 if speaker is None else self.speakers[speaker])
        self.source_index.append(self.sources[source])

    def table(self) -> CutTable:
        find = functools.cache(self._find)
        sources = [source._replace(path=find(source.path)) for source in self.sources]
        source_index = np.array(self.source_index, np.int32)
        durations = np.array(self.durations, np.float64)
        rates = np.array([source.sampling_rate for source in sources])[source_index]
        shifts = np.array([source.frame_shift for source in sources])[source_index]
        return CutTable(
            ids=Strings(self.ids),
            durations=durations,
            num_frames=_count_frames(durations, shifts, rates),
            texts=Strings.of(self.texts),
            text_index=np.array(self.text_index, np.int32),
            speakers=Strings.of(self.speakers),
            speaker_index=np.array(self.speaker_index, np.int32),
            sources=sources,
            source_index=source_index,
            keys=Strings(self.keys),
            first_frames=_count_frames(np.array(self.offsets), shifts, rates),
            recordings=Strings(self.recordings) if any(self.recordings) else None,
        )

    def _find(self, stored: str) -> str:
        beside = self.folder / stored
        return str(beside.absolute()) if beside.exists() else stored


def _count_frames(durations: np.ndarray, shifts: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Frames of durations in seconds, as lhotse's ``compute_num_frames``."""
    hops = np.rint(shifts * rates).astype(np.int64)
    return ((np.rint(durations * rates).astype(np.int64) + hops // 2) // hops).astype(np.int32)
