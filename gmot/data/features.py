"""Filter banks of a corpus, computed once: parallel, resumable, in a few files.

The utterances of a split are divided into shards that depend on the data alone. A shard is an
archive, its cuts and, written last, its summary. A killed run continues with the shards that have
no summary; the product does not depend on interruptions or on the number of processes.
"""

import functools
import gzip
import json
import logging
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmot.common import (
    GmotError,
    PathLike,
    atomic_path,
    empty_folder,
    fingerprint,
    holds_json,
    read_json,
    write_json,
    write_lines,
)
from gmot.data import archive
from gmot.data.audio import file_state
from gmot.data.extraction import extract
from gmot.data.manifests import manifest_path, read_manifest
from gmot.executors import MARKER, keep_shards_of

log = logging.getLogger(__name__)

FORMAT = 2  # increment it when the same input gives other files
MIN_STD = 1e-3  # of a constant bin
SHARD_SIZE, MAX_SHARDS = 250, 100


def load_cuts(fbank_dir: PathLike, prefix: str, split: str) -> list[Any]:
    """lhotse cuts of a split, with stored features and no recordings, or the other way round.

    Feature files are found relative to ``fbank_dir``, so the folder may be moved.

    Raises:
      GmotError: the manifest is missing, broken or empty.
    """
    from lhotse.serialization import deserialize_item

    @functools.cache
    def find(stored: str) -> str:
        beside = Path(fbank_dir) / stored
        return str(beside.absolute()) if beside.exists() else stored

    def load(record: dict[str, Any]) -> Any:
        cut = deserialize_item(record)
        if cut.features.storage_type != archive.NOT_STORED:
            cut.features.storage_path = find(cut.features.storage_path)
            cut.recording = None
        return cut

    archive.register()
    return read_manifest(fbank_dir, prefix, "cuts", split, load)


def load_cmvn(fbank_dir: PathLike, prefix: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the training split's features, each ``(F,)`` float32.

    Raises:
      GmotError: the file is missing or unusable.
    """
    path = Path(fbank_dir) / f"{prefix}_cmvn.json"
    stored = read_json(path)
    try:
        mean = torch.tensor(stored["mean"], dtype=torch.float32)
        std = torch.tensor(stored["std"], dtype=torch.float32)
        usable = mean.shape == std.shape and torch.isfinite(mean).all() and (std > 0).all()
    except (LookupError, TypeError, ValueError):
        usable = False
    if not usable:
        raise GmotError(
            f"{path}: not statistics of features. Delete it and run the fbank stage again."
        )
    return mean, std


def compute_fbank(
    prefix: str,
    split: str,
    manifest_dir: PathLike,
    fbank_dir: PathLike,
    num_mel_bins: int = 80,
    speeds: Sequence[float] = (),
    num_jobs: int = 1,
    write_cmvn: bool = False,
    pitch: bool = False,
    store: bool = True,
    executor: str | None = None,
) -> int:
    """Compute and store the features of a split; returns the number of cuts.

    Args:
      prefix, split, manifest_dir: of the manifests.
      fbank_dir: gets ``<prefix>_cuts_<split>.jsonl.gz`` and ``<prefix>_feats_<split>/``.
      num_mel_bins: bins of the filter bank.
      speeds: factors of additional copies, whose ids end in ``_sp<factor>``.
      num_jobs: processes of one thread each.
      write_cmvn: also write ``<prefix>_cmvn.json``, mean and standard deviation over all frames.
      pitch: append three pitch features (:mod:`gmot.data.pitch`).
      store: store the features; else only cuts and statistics, and loading computes them
        (:mod:`gmot.data.on_the_fly`).
      executor: address of a Dask scheduler, instead of local processes.

    Raises:
      GmotError: a manifest is missing, no utterance can be read, or a process was lost.
    """
    folder = Path(fbank_dir) / f"{prefix}_feats_{split}"
    product = manifest_path(fbank_dir, prefix, "cuts", split)
    options = [num_mel_bins, speeds, *(["kaldi-pitch"] if pitch else [])]
    options += [] if store else ["not stored"]
    source = {"made_from": _fingerprint(manifest_dir, prefix, split, *options)}
    summaries = _reuse(folder, product, source, store)
    if summaries is None:
        shards = _make_shards(_make_cuts(manifest_dir, prefix, split, speeds))
        missing = {
            name: cuts for name, cuts in shards.items() if not _is_complete(folder, name, store)
        }
        if len(missing) < len(shards):
            log.info("%s: %d of %d shards exist", split, len(shards) - len(missing), len(shards))
        extract(missing, split, folder, num_mel_bins, pitch, num_jobs, executor, store)
        summaries = [read_json(folder / f"{name}.json") for name in shards]
        _merge(summaries, list(shards), folder, product)
    _report_failures(summaries, Path(fbank_dir) / f"{prefix}_excluded_{split}.txt", split)
    if write_cmvn:
        _write_cmvn(summaries, Path(fbank_dir) / f"{prefix}_cmvn.json")
    return sum(summary["num_cuts"] for summary in summaries)


def _fingerprint(manifest_dir: PathLike, prefix: str, split: str, *options: Any) -> str:
    """Fingerprint of all that the features depend on: options, manifests, state of the audio."""
    recordings = read_manifest(manifest_dir, prefix, "recordings", split)
    supervisions = read_manifest(manifest_dir, prefix, "supervisions", split)
    files = [s["source"] for r in recordings for s in r["sources"] if s["type"] == "file"]
    states = [file_state(path) for path in files]
    if files and not any(states):  # before existing features are removed
        raise GmotError(
            f"split '{split}': none of its {len(files)} audio files exists; the first: {files[0]}. "
            "Restore the audio, or run the manifests stage again."
        )
    return fingerprint(FORMAT, *map(repr, (*options, *recordings, *supervisions, *states)))


def _reuse(folder: Path, product: Path, source: dict[str, str], store: bool) -> list[dict] | None:
    """Summaries of finished features of the same source; None if there is something to compute."""
    if holds_json(folder / MARKER, source):
        names = sorted(path.stem for path in folder.glob("shard-*.json"))
        if all(_is_complete(folder, name, store) for name in names):
            summaries = [read_json(folder / f"{name}.json") for name in names]
            if _num_lines(product) == sum(summary["num_cuts"] for summary in summaries):
                return summaries
    # The cuts go first: they must never name features that do not exist.
    product.unlink(missing_ok=True)
    keep_shards_of(folder, source)
    return None


def _make_cuts(
    manifest_dir: PathLike, prefix: str, split: str, speeds: Sequence[float]
) -> list[Any]:
    """One cut per supervision, of the same id, then the copies of other speeds."""
    from lhotse import CutSet, RecordingSet, SupervisionSet

    path = manifest_path(manifest_dir, prefix, "supervisions", split)
    recordings = RecordingSet.from_file(manifest_path(manifest_dir, prefix, "recordings", split))
    complete = CutSet.from_manifests(recordings, SupervisionSet.from_file(path))
    cuts = [
        trimmed.with_id(trimmed.supervisions[0].id)
        for cut in complete
        for trimmed in cut.trim_to_supervisions(keep_overlapping=False)
    ]
    if not cuts:
        raise GmotError(f"{path}: no utterances with a recording. Run the manifests stage again.")
    return cuts + [cut.perturb_speed(factor) for factor in speeds for cut in cuts]


def _make_shards(cuts: list[Any]) -> dict[str, list[Any]]:
    size = max(SHARD_SIZE, -(-len(cuts) // MAX_SHARDS))
    starts = range(0, len(cuts), size)
    return {f"shard-{i:03d}": cuts[start : start + size] for i, start in enumerate(starts)}


def _is_complete(folder: Path, name: str, store: bool) -> bool:
    """Whether the files of a shard agree with its summary, and its features are finite."""
    try:
        summary = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        size = summary["num_frames"] * len(summary["sum"]) * archive.DTYPE.itemsize
        return (
            (not store or (folder / f"{name}.f16").stat().st_size == size)
            and _num_lines(folder / f"{name}.jsonl.gz") == summary["num_cuts"]
            and bool(np.isfinite(summary["sum"] + summary["sum_of_squares"]).all())
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _num_lines(path: Path) -> int:
    """Lines of a compressed file; -1 if it is missing or broken."""
    try:
        with gzip.open(path, "rb") as lines:
            return sum(1 for _ in lines)
    except (OSError, EOFError, zlib.error):
        return -1


def _merge(summaries: Sequence[dict], names: Sequence[str], folder: Path, product: Path) -> None:
    if not any(summary["num_cuts"] for summary in summaries):
        empty_folder(folder)
        raise GmotError(
            f"{product}: no utterance could be read; the first: {summaries[0]['failures'][0][1]}. "
            "Check that the audio is where the manifests say."
        )
    with atomic_path(product) as temporary, gzip.open(temporary, "wb") as merged:
        for name in names:
            with gzip.open(folder / f"{name}.jsonl.gz", "rb") as shard:
                shutil.copyfileobj(shard, merged)


def _report_failures(summaries: Sequence[dict], report: Path, split: str) -> None:
    failures = [failure for summary in summaries for failure in summary["failures"]]
    if not failures:
        report.unlink(missing_ok=True)
        return
    write_lines(report, map("\t".join, failures))
    log.warning(
        "split '%s': %d utterances excluded, the first: %s (%s); all in %s",
        *(split, len(failures), *failures[0], report),
    )


def _write_cmvn(summaries: Sequence[dict], path: Path) -> None:
    frames = sum(summary["num_frames"] for summary in summaries)
    mean = np.sum([summary["sum"] for summary in summaries], axis=0) / frames
    squares = np.sum([summary["sum_of_squares"] for summary in summaries], axis=0) / frames
    std = np.sqrt(np.maximum(squares - mean**2, MIN_STD**2))
    write_json(path, {"num_frames": frames, "mean": mean.tolist(), "std": std.tolist()})
