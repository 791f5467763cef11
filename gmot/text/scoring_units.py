"""Error rates and the units that they count: characters (CER), words (WER), both (MER)."""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gmot.text.normalize import join_words, plain_apostrophes
from gmot.text.tokens import UNK
from gmot.text.units import runs


def characters(text: str) -> list[str]:
    """Characters of a text in one written form; ``<unk>`` is one unit.

    References have the written form of their corpus, hypotheses that of tokens or words, and a
    difference of form is not a recognition error: upper case, half-width, composed (Unicode NFKC),
    without spaces, apostrophes and invisible characters. Accents and punctuation are kept.
    """
    units: list[str] = []
    for part in _written(text):
        # Marks may have been separated by a space.
        joined = unicodedata.normalize("NFKC", "".join(part.replace("'", "").split()))
        units += [UNK] if part == UNK else joined
    return units


def mixed(text: str) -> list[str]:
    """Each Chinese or Japanese character, and the words of the rest, in one written form.

    The units of the mixed error rate of code-switching corpora such as SEAME. The form is that of
    :func:`characters`, but apostrophes are kept and written ``'``; ``<unk>`` is one unit.
    """
    written = " ".join(_written(text))
    units = (written[start:end] for start, end in runs(written))
    return [unit for unit in units if unit.strip("'")]


def words(text: str) -> list[str]:
    """Words between spaces, in the written form of :func:`mixed`.

    Spaces beside Chinese and Japanese characters do not count, so a text without others is one
    word.
    """
    return join_words(mixed(text)).split()


def _written(text: str) -> Iterator[str]:
    """``<unk>``, and the texts between in one written form."""
    for part in re.split(f"({UNK})", plain_apostrophes(text), flags=re.IGNORECASE):
        if part.lower() == UNK:
            yield UNK
            continue
        # The upper case of Turkish dotless i is that of i, another letter.
        upper = "\u0131".join(map(str.upper, unicodedata.normalize("NFKC", part).split("\u0131")))
        visible = unicodedata.normalize("NFKC", "".join(filter(_is_visible, upper)))
        yield plain_apostrophes(visible)


@functools.cache
def _is_visible(character: str) -> bool:
    # Category C: zero-width, control.
    return character.isspace() or unicodedata.category(character)[0] != "C"


@dataclass(frozen=True)
class Metric:
    """An error rate: insertions, deletions and substitutions of units, per reference unit.

    Attributes:
      name: ``CER``, ``WER`` or ``MER``.
      title: the name in words.
      units: text -> units.
      noun: the units in words.
      has_characters: whether Chinese characters are units.
    """

    name: str
    title: str
    units: Callable[[str], list[str]]
    noun: str
    has_characters: bool = True


CER = Metric("CER", "character error rate", characters, "characters")
WER = Metric("WER", "word error rate", words, "words", has_characters=False)
MER = Metric("MER", "mixed error rate", mixed, "Chinese characters and words")

# Values of --scoring.
SCORING = {"characters": CER, "words": WER, "mixed": MER}
METRICS = {metric.name: metric for metric in SCORING.values()}
