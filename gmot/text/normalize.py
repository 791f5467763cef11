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
_APOSTROPHE = re.compile("[`\u00b4\u2018\u2019\u201b\u02bc\u2032\uff07]")  # written for '
_NO_APOSTROPHE = re.compile(rf"'{{2,}}|(?<=[{CJK}])'|'(?=[{CJK}])")
# Invisible, but combining marks by their category.
_VARIATION = re.compile("[\u034f\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def normalize_text(text: str, upper: bool = True) -> str:
    """Normalised transcript of Chinese, empty if nothing in it is spoken.

    Full-width forms become half-width (Unicode NFKC), letters upper case (if ``upper``). Tags
    (:func:`find_tags`) are removed, those of unknown words become ``<unk>``. Punctuation and
    symbols become spaces; apostrophes and invisible characters are removed. Spaces are kept
    between words that are not Chinese or Japanese. Digits are kept, because their reading depends
    on the corpus. Normalisation is idempotent, in this and the other functions.
    """

    def spoken(part: str) -> str:
        if upper:  # may decompose
            part = unicodedata.normalize("NFKC", part.upper())
        return "".join(map(_keep, part))

    return _normalize(text, spoken)


def normalize_keeping_case(text: str) -> str:
    """:func:`normalize_text` with the case of letters unchanged (scoring ignores case)."""
    return normalize_text(text, upper=False)


def normalize_unicode(text: str) -> str:
    """Normalised transcript of any language, empty if nothing in it is spoken.

    Unicode NFKC, so that composed and decomposed letters are the same; lower case. Letters, digits
    and combining marks are kept. Apostrophes within words are kept and written ``'``, in all
    variants; others, punctuation (hyphens included) and symbols become spaces. Tags, invisible
    characters (zero-width joiners included) and spaces beside Chinese and Japanese characters as
    by :func:`normalize_text`.

    Lower case is that of Unicode, without the rules of a language: Turkish ``I`` becomes ``i``, and
    so does ``\u0130``. Marks of a corpus's own, such as ``+`` for stress, are to be removed before.
    """

    def spoken(part: str) -> str:
        # NFKC, since lower case may decompose.
        part = unicodedata.normalize("NFKC", re.sub("i\u0307+", "i", part.lower()))
        kept = "".join(c if c == "'" else _keep(c) for c in part)
        return " ".join(word.strip("'") for word in _NO_APOSTROPHE.sub(" ", kept).split())

    # Before NFKC, which makes a combining mark of an acute accent.
    return _normalize(plain_apostrophes(text), spoken)


def normalize_english(text: str) -> str:
    """Normalised transcript of English, empty if nothing in it is spoken.

    :func:`normalize_unicode` with Latin letters without accents: lower case, ``'`` within words
    (``don't``, ``o'clock``), spaces instead of hyphens and other punctuation; ``na\u00efve`` and
    ``naive`` are one word.
    """
    decomposed = unicodedata.normalize("NFD", normalize_unicode(text))
    plain = re.sub("(?<=[a-z])[\u0300-\u036f]+", "", decomposed)
    return unicodedata.normalize("NFKC", plain)


def plain_apostrophes(text: str) -> str:
    """Text with all variants of the apostrophe written ``'``."""
    return _APOSTROPHE.sub("'", text)


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


def _normalize(text: str, spoken: Callable[[str], str]) -> str:
    """Text whose tags are removed or ``<unk>``; ``spoken`` normalises what is between them."""
    parts = _TAG.split(unicodedata.normalize("NFKC", text))
    parts[::2] = map(spoken, parts[::2])
    names = (re.sub(r"\W", "", tag).lower() for tag in parts[1::2])
    parts[1::2] = [UNK if name in _UNKNOWN else "" for name in names]
    text = _SPACE_BESIDE_CJK.sub("", " ".join(" ".join(parts).split()))
    # Marks that compose may have been separated by what was removed.
    return unicodedata.normalize("NFKC", text)


def _keep(character: str) -> str:
    """The character, a space instead of it, or nothing."""
    if character in APOSTROPHES or _VARIATION.match(character):
        return ""
    category = unicodedata.category(character)
    if category == "Lo" or character.isspace():
        return character
    if category[0] == "C" or category == "Me":  # control, format (zero-width), unassigned; keycaps
        return ""
    return " " if category[0] in "PSZ" else character


def join_words(words: Iterable[str]) -> str:
    """Text of words, with spaces as in normalised text."""
    return _SPACE_BESIDE_CJK.sub("", " ".join(words))
