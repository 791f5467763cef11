"""Features of the shards of a split, computed in processes of one thread each."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gmot.common import atomic_path, write_json
from gmot.data.archive import HalfArchiveWriter, UnstoredWriter
from gmot.data.audio import audio_reason, load_samples
from gmot.data.on_the_fly import make_extractor
from gmot.executors import Shard, run_shards

MIN_DURATION = 0.1  # seconds


def extract(
    shards: dict[str, list[Any]],
    split: str,
    folder: Path,
    num_mel_bins: int,
    pitch: bool,
    num_jobs: int,
    executor: str | None,
    store: bool = True,
) -> None:
    """Write archives, cuts and summaries of shards (name -> cuts with audio) of a split.

    ``folder`` gets ``<name>.f16`` (with ``store``), ``<name>.jsonl.gz`` and, last, ``<name>.json``.
    ``num_jobs`` and ``executor`` are those of :func:`gmot.executors.run_shards`.

    Raises:
      GmotError: one of the processes was killed.
    """
    total = sum(map(len, shards.values()))
    folder = folder.absolute()
    tasks = [
        Shard(
            folder / f"{name}.json",
            (cuts, folder, name, num_mel_bins, pitch, store),
            _audio_files(cuts) if executor is not None else (),
        )
        for name, cuts in shards.items()
    ]
    with tqdm(total=total, desc=f"features of {split}", unit="utt", disable=None) as progress:
        for done in run_shards(_compute_shard, tasks, folder, "features", num_jobs, executor):
            progress.update(done)


def _audio_files(cuts: list[Any]) -> list[str]:
    """Audio files of cuts that exist; a worker that does not see one must not leave it out."""
    files = {s.source for cut in cuts for s in cut.recording.sources if s.type == "file"}
    return sorted(path for path in files if os.path.exists(path))


def _compute_shard(
    cuts: list[Any], folder: Path, name: str, num_mel_bins: int, pitch: bool, store: bool
) -> int:
    """Write one shard; returns its number of utterances, failed ones included."""
    from lhotse import CutSet

    rate = cuts[0].sampling_rate
    extractor = make_extractor(num_mel_bins, rate, pitch)
    width = extractor.feature_dim(rate)
    # Statistics of the values after rounding.
    sums, squares = np.zeros(width), np.zeros(width)
    done, failures = [], []
    with _writer(folder / f"{name}.f16", store) as writer:
        for cut in cuts:
            found = _extract_features(cut, extractor, writer)
            if isinstance(found, str):
                failures.append([cut.id, found])
                continue
            if store:
                found.features.storage_path = f"{folder.name}/{name}.f16"
            done.append(found)
            values = writer.last.astype(np.float64)
            sums += values.sum(axis=0)
            squares += (values**2).sum(axis=0)
    with atomic_path(folder / f"{name}.jsonl.gz") as temporary:
        CutSet.from_cuts(done).to_file(temporary)
    write_json(
        folder / f"{name}.json",
        {
            "num_cuts": len(done),
            "failures": failures,
            "num_frames": sum(cut.num_frames for cut in done),
            "sum": sums.tolist(),
            "sum_of_squares": squares.tolist(),
        },
    )
    return len(cuts)


@contextlib.contextmanager
def _writer(archive: Path, store: bool) -> Iterator[UnstoredWriter]:
    """Writer of an archive, which is there at the end; without ``store``, of nothing."""
    if not store:
        yield UnstoredWriter()
        return
    with atomic_path(archive) as temporary, HalfArchiveWriter(temporary) as writer:
        yield writer


def _extract_features(cut: Any, extractor: Any, writer: UnstoredWriter) -> Any:
    """Cut with features, or the reason (a string) why there are none."""
    from lhotse.utils import fastcopy

    if cut.duration < MIN_DURATION:
        return f"{cut.duration} s, shorter than {MIN_DURATION} s"
    try:
        # A valid header does not imply valid samples.
        features = extractor.extract_from_samples_and_store(
            load_samples(cut), writer, cut.sampling_rate, cut.start, cut.channel
        )
    except (OSError, MemoryError):
        raise  # a fault of the machine, not of the utterance
    except Exception as error:
        return audio_reason(error)
    features.recording_id = cut.recording_id
    return fastcopy(cut, features=features)
