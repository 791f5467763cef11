"""Normalisation of transcripts: one written form of the spoken text."""

import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable

from gmot.common import GmotError
from gmot.text.tokens import APOSTROPHES, UNK

# Han with iteration mark and zero, kana, rare Han of the higher planes.
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
    """Normalised transcript, empty if nothing in it is spoken. Normalisation is idempotent.

    Full-width forms become half-width (Unicode NFKC), letters upper case (if ``upper``). Tags
    (:func:`find_tags`) are removed, those of unknown words become ``<unk>``. Punctuation and
    symbols become spaces; apostrophes and invisible characters are removed. Spaces are kept
    between words that are not Chinese or Japanese. Digits are kept, because their reading depends
    on the corpus.
    """
    parts = _TAG.split(unicodedata.normalize("NFKC", text))
    parts[::2] = [_spoken(part, upper) for part in parts[::2]]
    names = (re.sub(r"\W", "", tag).lower() for tag in parts[1::2])
    parts[1::2] = [UNK if name in _UNKNOWN else "" for name in names]
    return _SPACE_BESIDE_CJK.sub("", " ".join(" ".join(parts).split()))


def normalize_keeping_case(text: str) -> str:
    """:func:`normalize_text` with the case of letters unchanged (scoring ignores case)."""
    return normalize_text(text, upper=False)


def load_normalizer(name: str) -> Callable[[str], str]:
    """Function named ``module:function``, for example ``gmot.text.normalize:normalize_text``.

    Raises:
      GmotError: there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise GmotError(
            f"normaliser '{name}': {error}. Expected MODULE:FUNCTION, a function of a module on "
            "the Python path, such as gmot.text.normalize:normalize_text."
        ) from None
    if not callable(found):
        raise GmotError(f"normaliser '{name}': a {type(found).__name__}, expected a function.")
    return found


def find_tags(text: str) -> list[str]:
    """Tags of a transcript: annotations that are not spoken.

    Angle or square brackets, as ``<SPOKEN_NOISE>``, ``[noise]``; single words in braces, as
    ``{BREATH}``; names of sounds in parentheses, plus signs or asterisks, as ``(laughter)``,
    ``++noise++``, ``*cough*``. Other parenthesised text may be spoken. Full-width brackets count.
    """
    return _TAG.findall(unicodedata.normalize("NFKC", text))


def _spoken(text: str, upper: bool) -> str:
    """Normalised text without tags, except for spaces."""
    if upper:  # may decompose
        text = unicodedata.normalize("NFKC", text.upper())
    # Marks that compose may have been separated by a removed character.
    return unicodedata.normalize("NFKC", "".join(map(_keep, text)))


def _keep(character: str) -> str:
    """The character, a space instead of it, or nothing."""
    if character in APOSTROPHES:
        return ""
    category = unicodedata.category(character)
    if category == "Lo" or character.isspace():
        return character
    if category[0] == "C":  # control, format (zero-width), surrogate, unassigned
        return ""
    return " " if category[0] in "PSZ" else character


def normalizer_like(texts: Iterable[str]) -> Callable[[str], str]:
    """Normaliser with the letter case of given normalised texts.

    Upper case if no letter of ``texts`` is lower case, lower case if none is upper case, else the
    case is unchanged.
    """
    spoken = "".join(text.replace(UNK, "") for text in texts)
    if spoken == spoken.upper():
        return normalize_text
    if spoken != spoken.lower():
        return normalize_keeping_case
    return lambda text: normalize_keeping_case(text).lower()


def join_words(words: Iterable[str]) -> str:
    """Text of words, with spaces as in normalised text."""
    return _SPACE_BESIDE_CJK.sub("", " ".join(words))
