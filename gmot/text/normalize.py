"""Normalisation of transcripts: one written form, without what is not spoken."""

import re
import unicodedata
from typing import Callable, Iterable, List

from gmot.text.tokens import APOSTROPHES, UNK

# Han with its iteration mark and zero, kana, and the planes of rare Han.
CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACE_BESIDE_CJK = re.compile(rf"(?<=[{CJK}])\s+|\s+(?=[{CJK}])")

# Names of sounds in brackets that also enclose spoken text.
_SOUNDS = (
    "noise|spoken_noise|laugh|laughs|laughter|cough|coughs|coughing|breath|breathing|sil|silence|"
    "music|applause|inaudible|unintelligible|unk|笑|笑声|掌声|音乐|噪音|噪声|咳嗽"
)
_TAG = re.compile(
    rf"""
    ( <(?:[^\W\d]|[/*+\-#])[^<>]*>               # <SPOKEN_NOISE>, </foreign>; not "1 <2 and 3> 2"
    | \[[^\[\]]+\]                               # [noise], [*]
    | \{{[^\W\d][\w\-]*\}}                       # {{BREATH}}: one word
    | \((?:{_SOUNDS})\)                          # (laughter); other parentheses enclose words
    | (?<![\w+])\++(?:{_SOUNDS})\++(?![\w+])     # ++noise++
    | (?<![\w*])\*+(?:{_SOUNDS})\*+(?![\w*])     # *laughter*
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_UNKNOWN = {"unk", "unknown", "oov", "unintelligible", "inaudible"}


def normalize_text(text: str, upper: bool = True) -> str:
    """Normalise one transcript.

    Full-width forms become half-width (Unicode NFKC), letters upper case. Tags
    (:func:`find_tags`) are removed; those of unknown words become ``<unk>``.
    Punctuation and symbols become spaces, apostrophes and invisible characters
    nothing. Spaces are kept only between words that are not Chinese or Japanese.
    Digits are kept: their reading depends on the corpus.

    Args:
      text: a transcript.
      upper: convert letters to upper case.
    Returns:
      The normalised text, empty if nothing in it is spoken. Normalisation is
      idempotent.
    """
    parts = _TAG.split(unicodedata.normalize("NFKC", text))
    parts[::2] = [_spoken(part, upper) for part in parts[::2]]
    parts[1::2] = [UNK if _is_unknown(tag) else "" for tag in parts[1::2]]
    return _SPACE_BESIDE_CJK.sub("", " ".join(" ".join(parts).split()))


def find_tags(text: str) -> List[str]:
    """Tags of a transcript: annotations that are not spoken.

    Content of angle or square brackets, as ``<SPOKEN_NOISE>`` or ``[noise]``; one
    word in braces, as ``{BREATH}``; and names of sounds in parentheses, plus signs or
    asterisks, as ``(laughter)``, ``++noise++`` or ``*cough*``. Other content of
    parentheses may be spoken and is no tag. Full-width brackets count as brackets.
    """
    return _TAG.findall(unicodedata.normalize("NFKC", text))


def _is_unknown(tag: str) -> bool:
    return re.sub(r"\W", "", tag).lower() in _UNKNOWN


def _spoken(text: str, upper: bool) -> str:
    """Text without tags, normalised but for its spaces."""
    if upper:
        # Upper case may leave composed forms (NFKC of it composes them again).
        text = unicodedata.normalize("NFKC", text.upper())
    # What is removed may have stood between two marks that now compose.
    return unicodedata.normalize("NFKC", "".join(map(_keep, text)))


def _keep(character: str) -> str:
    """The character, a space in its place, or nothing."""
    if character in APOSTROPHES:
        return ""
    category = unicodedata.category(character)
    if category == "Lo" or character.isspace():
        return character
    if category[0] == "C":  # control, format (zero-width), surrogate, unassigned
        return ""
    return " " if category[0] in "PSZ" else character


def normalizer_like(texts: Iterable[str]) -> Callable[[str], str]:
    """:func:`normalize_text` with the letter case of some normalised texts.

    Args:
      texts: transcripts, words, ...
    Returns:
      A function text -> normalised text: in upper case if no letter of ``texts`` is lower
      case, in lower case if no letter is upper case, else with its case unchanged.
    """
    has_lower = has_upper = False
    for text in texts:
        text = text.replace(UNK, "")
        has_lower |= text != text.upper()
        has_upper |= text != text.lower()
    if not has_lower:
        return normalize_text
    if has_upper:
        return lambda text: normalize_text(text, upper=False)
    return lambda text: normalize_text(text, upper=False).lower()


def join_words(words: Iterable[str]) -> str:
    """The text of some words, with spaces as in normalised text."""
    return _SPACE_BESIDE_CJK.sub("", " ".join(words))
