"""The work of the fbank stage: features of some utterances, in processes of one thread."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import torch
from tqdm import tqdm

from gmot.common import GmotError, atomic_path, write_json
from gmot.data.audio import audio_reason, load_samples
from gmot.data.pitch import fbank_with_pitch

MIN_DURATION = 0.1  # seconds; nothing shorter can be recognised


def extract(
    splits: Dict[str, List[Any]],
    part: str,
    folder: Path,
    num_mel_bins: int,
    pitch: bool,
    num_jobs: int,
) -> None:
    """Make the archives, cuts and summaries of splits, with a bar of progress.

    Args:
      splits: name -> cuts with audio.
      part: which they belong to.
      folder: gets ``<name>.f16``, ``<name>.jsonl.gz`` and, last, ``<name>.json``.
      num_mel_bins: of the filter bank.
      pitch: three columns more (:mod:`gmot.data.pitch`).
      num_jobs: processes, of one thread each.

    Raises:
      GmotError: one of the processes was killed.
    """
    total = sum(map(len, splits.values()))
    tasks = [(cuts, folder, name, num_mel_bins, pitch) for name, cuts in splits.items()]
    num_jobs = min(num_jobs, len(tasks))
    with tqdm(total=total, desc=f"fbank of {part}", unit="utterance", disable=None) as progress:
        for done in _run_tasks(tasks, num_jobs):
            progress.update(done)


def _run_tasks(tasks: List[Tuple], num_jobs: int) -> Iterator[int]:
    if num_jobs <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from (_compute_split(*task) for task in tasks)
        finally:
            torch.set_num_threads(threads)
        return
    # A forked copy of torch can hang in its threads; a spawned one cannot.
    with ProcessPoolExecutor(
        num_jobs, multiprocessing.get_context("spawn"), initializer=_start_worker
    ) as pool:
        futures = [pool.submit(_compute_split, *task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise GmotError(
                f"one of {num_jobs} processes that compute features was killed, most often because "
                "memory was short. Finished splits are kept: run the same command again to go on, "
                "with a smaller --num-jobs if it is killed again."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: the parent has the word
    # Matrices this small are computed 13 times faster by one thread than by many.
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()  # the parent was killed: nobody will collect the result
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _compute_split(cuts: List[Any], folder: Path, name: str, num_mel_bins: int, pitch: bool) -> int:
    """Make one split: archive, cuts and, last, the summary."""
    from lhotse import CutSet, Fbank, FbankConfig
    from lhotse.utils import fastcopy

    from gmot.data.archive import HalfArchiveReader, HalfArchiveWriter

    rate = cuts[0].sampling_rate
    config = FbankConfig(sampling_rate=rate, num_filters=num_mel_bins)
    extractor = fbank_with_pitch(config) if pitch else Fbank(config)
    archive = folder / f"{name}.f16"
    done, failures = [], []
    with atomic_path(archive) as temporary, HalfArchiveWriter(temporary) as writer:
        for cut in cuts:
            if cut.duration < MIN_DURATION:
                failures.append([cut.id, f"{cut.duration} s, shorter than {MIN_DURATION} s"])
                continue
            try:
                # A header that was fine does not say that the samples are.
                features = extractor.extract_from_samples_and_store(
                    load_samples(cut), writer, rate, offset=cut.start, channel=cut.channel
                )
            except (OSError, MemoryError):
                raise  # the machine's fault, not the utterance's
            except Exception as error:
                failures.append([cut.id, audio_reason(error)])
                continue
            features.recording_id = cut.recording_id
            features.storage_path = f"{folder.name}/{archive.name}"
            done.append(fastcopy(cut, features=features))
    width = extractor.feature_dim(rate)
    sums, squares = np.zeros(width), np.zeros(width)
    for cut in done:  # statistics of what is stored, not of what was rounded to it
        values = HalfArchiveReader(archive).read(cut.features.storage_key).astype(np.float64)
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
