"""Filter banks of a corpus, computed once: parallel, resumable, in a few files.

The utterances of a part are divided into splits that depend on the data alone.
Each split is one archive, its cuts and, written last, its summary; a run that
was killed goes on with the splits that have no summary, and the product is the
same as that of an uninterrupted run, whatever the number of processes.
"""

import gzip
import json
import logging
import shutil
import zlib
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from gmot.common import (
    GmotError,
    PathLike,
    atomic_path,
    empty_folder,
    fingerprint,
    read_json,
    require_file,
    write_json,
)
from gmot.data.corpus_state import file_state
from gmot.data.extraction import extract
from gmot.data.manifests import manifest_path, read_manifest

log = logging.getLogger(__name__)

FORMAT = 1  # raise it when the same input gives other features
MIN_STD = 1e-3  # of a bin that never changes


def cuts_path(fbank_dir: PathLike, prefix: str, part: str) -> Path:
    """Where the cuts of a part lie."""
    return Path(fbank_dir) / f"{prefix}_cuts_{part}.jsonl.gz"


def load_cuts(fbank_dir: PathLike, prefix: str, part: str) -> List[Any]:
    """The cuts of a part, with features that load, without their recordings.

    Feature files are found relative to ``fbank_dir``, so that the folder may be
    moved or copied.

    Raises:
      GmotError: the manifest is missing, broken or empty.
    """
    from lhotse import CutSet

    import gmot.data.archive  # noqa: F401 (registers the storage)

    path = require_file(
        cuts_path(fbank_dir, prefix, part), f"cuts of '{part}'", "Run the fbank stage first."
    )
    try:
        cuts = list(CutSet.from_jsonl_lazy(path))
    except Exception as error:  # lhotse raises what its parsers raise
        raise GmotError(
            f"{path}: not a manifest of cuts ({type(error).__name__}: {error}). "
            "Delete it and run the fbank stage again."
        ) from error
    if not cuts:
        raise GmotError(f"{path}: holds no utterance. Run the fbank stage again.")
    places: Dict[str, str] = {}
    for cut in cuts:
        if not cut.has_features:
            raise GmotError(f"{path}: '{cut.id}' has no features. Run the fbank stage again.")
        stored = cut.features.storage_path
        if stored not in places:
            beside = Path(fbank_dir) / stored
            places[stored] = str(beside.absolute()) if beside.exists() else stored
        cut.features.storage_path = places[stored]
        cut.recording = None
    return cuts


def load_cmvn(fbank_dir: PathLike, prefix: str) -> Tuple[Tensor, Tensor]:
    """Mean and standard deviation of the training part's features, each ``(F,)`` float32.

    Raises:
      GmotError: they have not been computed, or are not usable.
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
    part: str,
    manifest_dir: PathLike,
    fbank_dir: PathLike,
    num_mel_bins: int = 80,
    speeds: Sequence[float] = (),
    num_jobs: int = 1,
    write_cmvn: bool = False,
    pitch: bool = False,
) -> int:
    """Compute and store the features of one part.

    Args:
      prefix: first part of the file names.
      part: which part.
      manifest_dir: holds its manifests.
      fbank_dir: gets ``<prefix>_cuts_<part>.jsonl.gz`` and the folder
        ``<prefix>_feats_<part>``.
      num_mel_bins: of the filter bank.
      speeds: factors of additional copies; their ids end in ``_sp<factor>``.
      num_jobs: processes, of one thread each.
      write_cmvn: also write ``<prefix>_cmvn.json``, mean and standard deviation
        over all frames.
      pitch: three columns more (:mod:`gmot.data.pitch`).

    Returns:
      The number of cuts.

    Raises:
      GmotError: a manifest is missing, or not one utterance could be read.
    """
    product = cuts_path(fbank_dir, prefix, part)
    folder = Path(fbank_dir) / f"{prefix}_feats_{part}"
    options = (num_mel_bins, speeds, *(["kaldi-pitch"] if pitch else []))
    source = {"made_from": _fingerprint(manifest_dir, prefix, part, *options)}
    marker = folder / "source.json"
    if not marker.is_file() or read_json(marker) != source:
        # The cuts go first: they must never name features that are not there.
        product.unlink(missing_ok=True)
        empty_folder(folder)
        write_json(marker, source)

    names = sorted(path.stem for path in folder.glob("split-*.json"))
    whole = [name for name in names if _is_whole(folder, name)]
    summaries = [read_json(folder / f"{name}.json") for name in whole]
    if whole != names or _num_lines(product) != sum(s["num_cuts"] for s in summaries):
        product.unlink(missing_ok=True)
        names = whole
        splits = _splits(_make_cuts(manifest_dir, prefix, part, speeds))
        missing = {name: cuts for name, cuts in splits.items() if name not in set(names)}
        if len(missing) < len(splits):
            log.info("%s: %d of %d splits are there", part, len(names), len(splits))
        extract(missing, part, folder, num_mel_bins, pitch, num_jobs)
        names = sorted(splits)
        _merge(names, folder, product)
        summaries = [read_json(folder / f"{name}.json") for name in names]
    _report_failures(summaries, Path(fbank_dir) / f"{prefix}_excluded_{part}.txt", part)
    if write_cmvn:
        _write_cmvn(summaries, Path(fbank_dir) / f"{prefix}_cmvn.json")
    return sum(summary["num_cuts"] for summary in summaries)


def _fingerprint(manifest_dir: PathLike, prefix: str, part: str, *options: Any) -> str:
    """Of all that the features depend on: options, manifests, and the state of the audio files."""
    recordings = read_manifest(manifest_dir, prefix, "recordings", part, ("id", "sources"))
    supervisions = read_manifest(manifest_dir, prefix, "supervisions", part, ("id", "text"))
    files = [s["source"] for r in recordings for s in r["sources"] if s["type"] == "file"]
    states = [file_state(path) for path in files]
    if files and not any(states):
        # Before anything is removed: features that are there outlive the audio.
        raise GmotError(
            f"part '{part}': not one of {len(files)} audio files is there; the first: {files[0]}. "
            "Put the audio back where the manifests say, or make the manifests anew."
        )
    return fingerprint(FORMAT, *map(repr, (*options, *recordings, *supervisions, *states)))


def _make_cuts(
    manifest_dir: PathLike, prefix: str, part: str, speeds: Sequence[float]
) -> List[Any]:
    """One cut per supervision, of the same id, then the copies of other speeds."""
    from lhotse import CutSet, RecordingSet, SupervisionSet

    recordings = RecordingSet.from_file(manifest_path(manifest_dir, prefix, "recordings", part))
    supervisions = SupervisionSet.from_file(
        manifest_path(manifest_dir, prefix, "supervisions", part)
    )
    whole = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    cuts = [
        trimmed.with_id(trimmed.supervisions[0].id)
        for cut in whole
        for trimmed in cut.trim_to_supervisions(keep_overlapping=False)
    ]
    if not cuts:
        raise GmotError(
            f"{manifest_path(manifest_dir, prefix, 'supervisions', part)}: holds no utterance "
            "with a recording. Run the manifests stage again."
        )
    return cuts + [cut.perturb_speed(factor) for factor in speeds for cut in cuts]


def _is_whole(folder: Path, name: str) -> bool:
    """Whether the files of a split are what its summary says, with finite features."""
    from gmot.data.archive import DTYPE

    try:
        summary = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        size = summary["num_frames"] * len(summary["sum"]) * DTYPE.itemsize
        return (
            (folder / f"{name}.f16").stat().st_size == size
            and _num_lines(folder / f"{name}.jsonl.gz") == summary["num_cuts"]
            and bool(np.isfinite(summary["sum"] + summary["sum_of_squares"]).all())
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _num_lines(path: Path) -> int:
    """Lines of a compressed file; -1 of one that is missing or broken."""
    try:
        with gzip.open(path, "rb") as lines:
            return sum(1 for _ in lines)
    except (OSError, EOFError, zlib.error):
        return -1


def _splits(cuts: List[Any]) -> Dict[str, List[Any]]:
    """At most a hundred splits, of 250 cuts or more."""
    size = max(250, -(-len(cuts) // 100))
    return {
        f"split-{i:03d}": cuts[start : start + size]
        for i, start in enumerate(range(0, len(cuts), size))
    }


def _merge(names: Sequence[str], folder: Path, product: Path) -> None:
    if not any(read_json(folder / f"{name}.json")["num_cuts"] for name in names):
        _, reason = read_json(folder / f"{names[0]}.json")["failures"][0]
        empty_folder(folder)
        raise GmotError(
            f"{product}: not one utterance could be read; the first: {reason}. "
            "Is the audio still where the manifests say?"
        )
    with atomic_path(product) as temporary, gzip.open(temporary, "wb") as merged:
        for name in names:
            with gzip.open(folder / f"{name}.jsonl.gz", "rb") as split:
                shutil.copyfileobj(split, merged)


def _report_failures(summaries: Sequence[Dict], report: Path, part: str) -> None:
    failures = [failure for summary in summaries for failure in summary["failures"]]
    if failures:
        with atomic_path(report) as path:
            path.write_text("".join(f"{i}\t{r}\n" for i, r in failures), encoding="utf-8")
        log.warning(
            "part '%s': %d utterances left out, the first: %s (%s); all in %s",
            part,
            len(failures),
            *failures[0],
            report,
        )
    else:
        report.unlink(missing_ok=True)


def _write_cmvn(summaries: Sequence[Dict], path: Path) -> None:
    frames = sum(summary["num_frames"] for summary in summaries)
    mean = np.sum([summary["sum"] for summary in summaries], axis=0) / frames
    squares = np.sum([summary["sum_of_squares"] for summary in summaries], axis=0) / frames
    std = np.sqrt(np.maximum(squares - mean**2, MIN_STD**2))
    write_json(path, {"num_frames": frames, "mean": mean.tolist(), "std": std.tolist()})
