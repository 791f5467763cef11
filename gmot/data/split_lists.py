"""Splits as explicit lists of utterances: one file of ids per split."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from gmot.common import GmotError, PathLike, read_utf8, require_file, write_lines
from gmot.data.kaldi import Split, refuse_repeated

log = logging.getLogger(__name__)


def list_path(folder: PathLike, split: str) -> Path:
    """File with the utterances of a split."""
    return Path(folder) / f"{split}.txt"


def write_split_lists(folder: PathLike, lists: Mapping[str, Sequence[str]]) -> None:
    """Write the ids of each split, one per line."""
    for name, ids in lists.items():
        write_lines(list_path(folder, name), ids)


def read_split_lists(folder: PathLike, splits: Sequence[str]) -> dict[str, list[str]]:
    """Ids of the utterances of splits.

    Raises:
      GmotError: a file is missing or empty, or an id is listed twice.
    """
    lists: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for name in splits:
        path = list_path(folder, name)
        require_file(path, f"utterances of '{name}'", "Expected one utterance id per line.")
        lists[name] = read_utf8(path).split()
        refuse_repeated([key for key in lists[name] if key in first], f"{folder}, up to '{name}'")
        first.update(dict.fromkeys(lists[name], name))
    return lists


def select_utterances(found: Sequence[Split], lists: Mapping[str, Sequence[str]]) -> list[Split]:
    """Splits of the listed utterances, whichever split of the corpus they are in.

    Listed utterances that the corpus lacks, or that it excludes, are excluded.

    Raises:
      GmotError: two recordings have the same id.
    """
    owner = {key: split for split in found for key in split.supervisions}
    reasons = {key: reason for split in found for key, reason in split.excluded}
    selected = []
    for name, ids in lists.items():
        split = Split(name)
        for key in ids:
            if key not in owner:
                split.exclude(key, reasons.get(key, "listed, but not in the corpus"))
                continue
            supervision = split.supervisions[key] = owner[key].supervisions[key]
            recording = owner[key].recordings.get(supervision.recording_id)
            if recording is None:
                continue  # reported with the other faults of the audio
            other = split.recordings.setdefault(recording.id, recording)
            if other is not recording and _files(other) != _files(recording):
                raise GmotError(
                    f"recording '{recording.id}' is two files: {', '.join(_files(other))} and "
                    f"{', '.join(_files(recording))}. Give the recordings unique ids."
                )
        selected.append(split)
    unlisted = len(owner.keys() - {key for ids in lists.values() for key in ids})
    if unlisted:
        log.info("%d utterances of the corpus are in no list of the splits", unlisted)
    return selected


def _files(recording: object) -> list[str]:
    return [str(source.source) for source in recording.sources]  # type: ignore[attr-defined]
