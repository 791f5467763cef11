"""Corpora as lhotse manifests: one recording set and one supervision set per split.

The input is a Kaldi-style folder per split, tables of files and transcripts, or what one of
lhotse's recipes reads (source.py). Transcripts are normalised once, here.
"""

import gzip
import itertools
import json
import logging
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike, atomic_path, require_file, write_lines
from gmot.data.kaldi import Split, first_five
from gmot.data.source import Source
from gmot.data.split_lists import read_split_lists, select_utterances
from gmot.text.normalize import find_tags, normalize_text

log = logging.getLogger(__name__)

# Kind of a manifest -> its stage and what each record must have.
KINDS = {
    "recordings": ("manifests", ("id", "sources")),
    "supervisions": ("manifests", ("id", "text")),
    "cuts": ("fbank", ("id", "features")),
}


def manifest_path(folder: PathLike, prefix: str, kind: str, split: str) -> Path:
    """Path of a manifest; ``kind`` is one of :data:`KINDS`."""
    return Path(folder) / f"{prefix}_{kind}_{split}.jsonl.gz"


def load_supervisions(manifest_dir: PathLike, prefix: str, split: str) -> list[tuple[str, str]]:
    """Transcripts of a split, ``(utterance id, text)`` in the manifest's order.

    Raises:
      GmotError: the manifest is missing, broken or empty.
    """
    pair = operator.itemgetter("id", "text")
    return read_manifest(manifest_dir, prefix, "supervisions", split, pair)


def read_manifest(
    folder: PathLike,
    prefix: str,
    kind: str,
    split: str,
    make: Callable[[dict[str, Any]], Any] = lambda record: record,
) -> list[Any]:
    """Records of a manifest (:func:`manifest_path`), or what ``make`` makes of each.

    Raises:
      GmotError: the manifest is missing, broken or empty.
    """
    stage, _ = KINDS[kind]
    path = manifest_path(folder, prefix, kind, split)
    require_file(path, f"{kind} of '{split}'", f"Run the {stage} stage first.")
    return read_records(path, kind, make)


def read_records(
    path: Path, kind: str, make: Callable[[dict[str, Any]], Any] = lambda record: record
) -> list[Any]:
    """Records of a manifest file, or what ``make`` makes of each.

    Raises:
      GmotError: the file is broken or empty.
    """
    stage, keys = KINDS[kind]
    items: list[Any] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                for key in keys:
                    record[key]
                items.append(make(record))
    except Exception as error:  # lhotse, gzip and json raise exceptions of many kinds
        raise GmotError(
            f"{path}, line {len(items) + 1}: not a manifest of {kind} ({type(error).__name__}: "
            f"{error}). Delete it and run the {stage} stage again."
        ) from None
    if not items:
        raise GmotError(f"{path}: no utterances. Run the {stage} stage again.")
    return items


def prepare_manifests(
    corpus_dir: PathLike | None,
    prefix: str,
    splits: Sequence[str],
    manifest_dir: PathLike,
    recipe: str | None = None,
    sampling_rate: int = 16000,
    normalizer: Callable[[str], str] = normalize_text,
    num_jobs: int = 4,
    recipe_options: Mapping[str, Any] | None = None,
    tables: Sequence[PathLike] = (),
    columns: Mapping[str, str] | None = None,
    audio_dir: PathLike | None = None,
    channel: int | None = None,
    split_lists: PathLike | None = None,
    source_splits: Sequence[str] | None = None,
    resample: bool = True,
) -> list[Split]:
    """Make the manifests of a corpus in ``manifest_dir``.

    Utterances that cannot be used (no audio, unreadable audio, no text) are listed in
    ``excluded.txt``.

    Args:
      corpus_dir, recipe, recipe_options, tables, columns, audio_dir, channel: the corpus, see
        :class:`~gmot.data.source.Source`.
      prefix: corpus name, first part of the file names.
      splits: names of the splits that are made.
      sampling_rate: of the features, in Hz.
      normalizer: transcript (on one line) -> normalised transcript.
      num_jobs: audio files that are opened at a time.
      split_lists: folder with a file ``<split>.txt`` of utterance ids per split; None: the splits
        are those of the corpus.
      source_splits: splits of the corpus that are read for the lists; None: all.
      resample: audio of other sampling rates is resampled when it is loaded; else excluded.

    Raises:
      GmotError: an input is missing or contradictory, or no utterance of a split can be used.
    """
    source = Source(
        *(corpus_dir, recipe, recipe_options or {}, tables, columns or {}, audio_dir, channel)
    )
    made = Path(manifest_dir) / f"{prefix}_{recipe}"
    if split_lists is None:
        found = source.read(splits, num_jobs, made)
    else:
        lists = read_split_lists(split_lists, splits)
        whole = source.read(source_splits, num_jobs, made)
        refuse_shared_ids(whole)
        found = select_utterances(whole, lists)
    for split in found:
        check_audio(split, sampling_rate, resample)
    normalize_transcripts(found, normalizer)
    for split in found:
        _report(split)
    refuse_shared_ids(found)
    _write(found, Path(manifest_dir), prefix)
    return found


def check_audio(split: Split, sampling_rate: int, resample: bool = True) -> None:
    """Resample recordings of another sampling rate, or exclude their utterances.

    Recordings are resampled when they are loaded.
    """
    rates: Counter = Counter()
    for utterance, supervision in list(split.supervisions.items()):
        recording = split.recordings.get(supervision.recording_id)
        if recording is None:
            split.exclude(utterance, f"no recording '{supervision.recording_id}'")
        elif recording.sampling_rate != sampling_rate and resample:
            rates[recording.sampling_rate] += 1
            split.recordings[recording.id] = recording.resample(sampling_rate)
        elif recording.sampling_rate != sampling_rate:
            found = f"sampling rate {recording.sampling_rate} Hz"
            split.exclude(utterance, f"{found}, expected {sampling_rate} Hz")
    for supervision in split.supervisions.values():  # an end may have been rounded up
        rest = split.recordings[supervision.recording_id].duration - supervision.start
        supervision.duration = min(supervision.duration, rest)
    if rates:
        log.info(
            "split '%s': audio is resampled to %d Hz when it is loaded (%s)",
            *(split.name, sampling_rate),
            ", ".join(f"{count} recordings of {rate} Hz" for rate, count in rates.most_common()),
        )


def normalize_transcripts(splits: Sequence[Split], normalizer: Callable[[str], str]) -> None:
    """Normalise all transcripts and exclude empty ones."""
    name = getattr(normalizer, "__qualname__", repr(normalizer))
    tags: Counter = Counter()
    for split in splits:
        for utterance, supervision in list(split.supervisions.items()):
            raw = " ".join((supervision.text or "").split())
            if normalizer is normalize_text:
                tags.update(find_tags(raw))
            try:
                text = normalizer(raw)
                if not isinstance(text, str):
                    raise TypeError(f"returned {type(text).__name__}, expected str")
            except Exception as error:
                raise GmotError(
                    f"normaliser {name}: {type(error).__name__}: {error}, on '{raw[:80]}' "
                    f"({utterance})."
                ) from error
            supervision.text = " ".join(text.split())
            if not supervision.text:
                split.exclude(utterance, "empty transcript")
    if tags:
        shown = ", ".join(f"{tag} {count}" for tag, count in tags.most_common(10))
        log.info(
            "%d tags removed from transcripts, or <unk> for unknown words (%d distinct: %s%s)",
            *(sum(tags.values()), len(tags), shown, ", ..." if len(tags) > 10 else ""),
        )


def _report(split: Split) -> None:
    kept, excluded = len(split.supervisions), split.excluded
    reasons = Counter(reason.partition(":")[0] for _, reason in excluded)
    summary = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    if not kept:
        first = ": ".join(excluded[0]) if excluded else "the split is empty"
        raise GmotError(
            f"split '{split.name}': none of {len(excluded)} utterances can be used "
            f"({summary or 'none is listed'}); for example {first}"
        )
    if excluded:
        log.warning(
            "split '%s': %d of %d utterances excluded (%s)",
            *(split.name, len(excluded), kept + len(excluded), summary),
        )


def refuse_shared_ids(splits: Sequence[Split]) -> None:
    """Test utterances must not occur in training."""
    for split, other in itertools.combinations(splits, 2):
        shared = sorted(split.supervisions.keys() & other.supervisions.keys())
        if shared:
            raise GmotError(
                f"splits '{split.name}' and '{other.name}' share {len(shared)} utterances: "
                f"{first_five(shared)}. Remove them from one split, or rename them."
            )


def _write(splits: Sequence[Split], manifest_dir: Path, prefix: str) -> None:
    from lhotse import RecordingSet, SupervisionSet

    for split in splits:
        used = {s.recording_id for s in split.supervisions.values()}
        recordings = [r for key, r in split.recordings.items() if key in used]
        for kind, manifest in (
            ("recordings", RecordingSet.from_recordings(recordings)),
            ("supervisions", SupervisionSet.from_segments(split.supervisions.values())),
        ):
            with atomic_path(manifest_path(manifest_dir, prefix, kind, split.name)) as path:
                manifest.to_file(path)
    excluded = manifest_dir / "excluded.txt"
    lines = [f"{s.name}\t{key}\t{reason}" for s in splits for key, reason in s.excluded]
    if lines:
        write_lines(excluded, lines)
        log.info("excluded utterances are listed in %s", excluded)
    else:
        excluded.unlink(missing_ok=True)
