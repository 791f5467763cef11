"""Features of the shards of a split, computed in processes of one thread each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from gmot.common import atomic_path, write_json
from gmot.data.archive import HalfArchiveReader, HalfArchiveWriter
from gmot.data.audio import audio_reason, load_samples
from gmot.data.pitch import fbank_with_pitch
from gmot.data.processes import run_in_processes

MIN_DURATION = 0.1  # seconds


def extract(
    shards: dict[str, list[Any]],
    split: str,
    folder: Path,
    num_mel_bins: int,
    pitch: bool,
    num_jobs: int,
) -> None:
    """Write archives, cuts and summaries of shards (name -> cuts with audio) of a split.

    ``folder`` gets ``<name>.f16``, ``<name>.jsonl.gz`` and, last, ``<name>.json``.

    Raises:
      GmotError: one of the processes was killed.
    """
    total = sum(map(len, shards.values()))
    tasks = [(cuts, folder, name, num_mel_bins, pitch) for name, cuts in shards.items()]
    with tqdm(total=total, desc=f"features of {split}", unit="utt", disable=None) as progress:
        for done in _run_tasks(tasks, min(num_jobs, len(tasks))):
            progress.update(done)


def _run_tasks(tasks: list[tuple], num_jobs: int) -> Iterator[int]:
    """Number of utterances of each finished task."""
    if num_jobs <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # 13 times faster than many threads on matrices this small
        try:
            yield from (_compute_shard(*task) for task in tasks)
        finally:
            torch.set_num_threads(threads)
        return
    yield from run_in_processes(
        _compute_shard, tasks, num_jobs, "features", torch.set_num_threads, (1,)
    )


def _compute_shard(cuts: list[Any], folder: Path, name: str, num_mel_bins: int, pitch: bool) -> int:
    """Write one shard; returns its number of utterances, failed ones included."""
    from lhotse import CutSet, Fbank, FbankConfig

    rate = cuts[0].sampling_rate
    config = FbankConfig(sampling_rate=rate, num_filters=num_mel_bins)
    extractor = fbank_with_pitch(config) if pitch else Fbank(config)
    done, failures = _store_features(cuts, extractor, folder / f"{name}.f16")
    with atomic_path(folder / f"{name}.jsonl.gz") as temporary:
        CutSet.from_cuts(done).to_file(temporary)
    width = extractor.feature_dim(rate)
    sums, squares = np.zeros(width), np.zeros(width)
    reader = HalfArchiveReader(folder / f"{name}.f16")
    for cut in done:  # statistics of the stored values, not of the ones before rounding
        values = reader.read(cut.features.storage_key).astype(np.float64)
        sums += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
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


def _store_features(
    cuts: list[Any], extractor: Any, archive: Path
) -> tuple[list[Any], list[list[str]]]:
    """Write an archive; returns cuts with features, and ``[id, reason]`` of the others."""
    from lhotse.utils import fastcopy

    done, failures = [], []
    with atomic_path(archive) as temporary, HalfArchiveWriter(temporary) as writer:
        for cut in cuts:
            if cut.duration < MIN_DURATION:
                failures.append([cut.id, f"{cut.duration} s, shorter than {MIN_DURATION} s"])
                continue
            try:
                # A valid header does not imply valid samples.
                features = extractor.extract_from_samples_and_store(
                    load_samples(cut), writer, cut.sampling_rate, cut.start, cut.channel
                )
            except (OSError, MemoryError):
                raise  # a fault of the machine, not of the utterance
            except Exception as error:
                failures.append([cut.id, audio_reason(error)])
                continue
            features.recording_id = cut.recording_id
            features.storage_path = f"{archive.parent.name}/{archive.name}"
            done.append(fastcopy(cut, features=features))
    return done, failures
