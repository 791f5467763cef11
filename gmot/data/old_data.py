"""Speech of an earlier training beside that of a new one, for fine-tuning."""

from typing import NamedTuple

import numpy as np

from gmot.common import GmotError, PathLike
from gmot.data.cuts import CutTable, Strings


class OldData(NamedTuple):
    """Corpus of an earlier training: its ``fbank_dir``, ``prefix`` and ``split``."""

    fbank_dir: PathLike
    prefix: str
    split: str = "train"


def join_cuts(new: CutTable, old: CutTable, old_data: OldData) -> CutTable:
    """Utterances of two corpora, those of ``new`` first; their texts are distinct as in each.

    Raises:
      GmotError: their features are of different kinds.
    """
    ours, theirs = ({(s.type, s.num_features) for s in table.sources} for table in (new, old))
    if ours != theirs:
        raise GmotError(
            f"{old_data.fbank_dir}: features of '{old_data.split}' are {_kinds(theirs)}, those of "
            f"the new corpus {_kinds(ours)}. Compute the features of both by the same options."
        )
    numbers = {text: number for number, text in enumerate(new.texts)}
    text_map = np.array([numbers.setdefault(text, len(numbers)) for text in old.texts], np.int32)
    recordings = None
    if new.recordings is not None or old.recordings is not None:
        recordings = _strings(*(t.recordings or [""] * len(t) for t in (new, old)))
    speaker_index = np.where(old.speaker_index < 0, -1, old.speaker_index + len(new.speakers))
    return CutTable(
        ids=_strings(new.ids, old.ids),
        durations=np.concatenate([new.durations, old.durations]),
        num_frames=np.concatenate([new.num_frames, old.num_frames]),
        texts=_strings(numbers),
        text_index=np.concatenate([new.text_index, text_map[old.text_index]]),
        speakers=_strings(new.speakers, old.speakers),
        speaker_index=np.concatenate([new.speaker_index, speaker_index]).astype(np.int32),
        sources=[*new.sources, *old.sources],
        source_index=np.concatenate([new.source_index, old.source_index + len(new.sources)]),
        keys=_strings(new.keys, old.keys),
        first_frames=np.concatenate([new.first_frames, old.first_frames]),
        recordings=recordings,
    )


def _strings(*parts) -> Strings:  # type: ignore[no-untyped-def]
    return Strings.of(text for part in parts for text in part)


def _kinds(found: set[tuple[str, int]]) -> str:
    return " and ".join(f"{kind} of {size} values" for kind, size in sorted(found))
