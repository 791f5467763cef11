"""Word times of a CTM file, and the words of the tokens of a text."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gmot.common import GmotError, PathLike, read_utf8, require_file
from gmot.text.units import Span

SILENCE = "<eps>"  # Kaldi's word of silence


class Word(NamedTuple):
    """A spoken word; seconds from the beginning of its utterance."""

    text: str
    start: float
    end: float


def read_ctm(path: PathLike) -> dict[str, list[Word]]:
    """Words of utterances, in the order of their times.

    Lines are ``utterance channel start duration word``, in seconds; more columns (a confidence) are
    ignored, as are lines of ``<eps>`` and comments (``;;``).

    Raises:
      GmotError: the file is missing or empty, or a line has no such columns.
    """
    require_file(path, "Word times", "Give a CTM file: 'utterance 1 start duration word' lines.")
    found: dict[str, list[Word]] = {}
    for number, line in enumerate(read_utf8(Path(path)).splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        try:
            name, _, start, duration, text, *_ = fields
            times = float(start), float(duration)
        except ValueError:
            times = (math.nan, math.nan)
        if not (times[0] >= 0 and 0 < times[1] < math.inf):
            raise GmotError(
                f"{path}, line {number}: found '{line}', expected 'utterance 1 start duration "
                "word' with seconds, the duration above 0."
            )
        if text != SILENCE:
            word = Word(text, times[0], times[0] + times[1])
            found.setdefault(name, []).append(word)
    return {name: sorted(words, key=lambda word: word.start) for name, words in found.items()}


def locate(text: str, words: Sequence[Word]) -> list[Span] | None:
    """Spans of the words in a text; None if they are not its words.

    White space does not count, so that a text without spaces may have words or characters.
    """
    spans: list[Span] = []
    position = 0
    for word in words:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith(word.text, position):
            return None
        spans.append((position, position + len(word.text)))
        position += len(word.text)
    return spans if not text[position:].strip() else None


def words_of_tokens(tokens: Sequence[Span], words: Sequence[Span]) -> np.ndarray | None:
    """Word of each token, (S,): the one that has most of its characters.

    None if a token lies in no word, or a word has no token.
    """
    overlap = np.array(
        [[max(0, min(b, d) - max(a, c)) for c, d in words] for a, b in tokens], dtype=np.int64
    ).reshape(len(tokens), len(words))
    if not len(tokens) or not len(words) or (overlap.max(1) == 0).any():
        return None
    owners = overlap.argmax(1)
    return owners if len(set(owners.tolist())) == len(words) else None
