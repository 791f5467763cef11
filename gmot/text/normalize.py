"""One written form for every transcript: what is not spoken is removed."""

import re
import unicodedata

# Han with its iteration mark and zero, kana, and the planes of rare Han.
_CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACE_BESIDE_CJK = re.compile(rf"(?<=[{_CJK}])\s+|\s+(?=[{_CJK}])")
_APOSTROPHES = "'\u2019\u02bc"


def normalize_text(text: str, upper: bool = True) -> str:
    """Normalise one transcript.

    Full-width forms become half-width (Unicode NFKC), letters upper case.
    Punctuation and symbols become spaces, apostrophes and invisible characters
    nothing. Spaces survive only between words that are not Chinese or Japanese.
    Digits stay as they are: how they are read is for the corpus to say.

    Args:
      text: a transcript.
      upper: write letters in upper case.
    Returns:
      The normalised text, empty if nothing in it is spoken. Normalising it
      again changes nothing.
    """
    text = unicodedata.normalize("NFKC", text)
    if upper:
        # Upper case may leave composed forms (NFKC of it composes them again).
        text = unicodedata.normalize("NFKC", text.upper())
    # What is removed may have stood between two marks that now compose.
    text = unicodedata.normalize("NFKC", "".join(map(_keep, text)))
    text = " ".join(text.split())
    return _SPACE_BESIDE_CJK.sub("", text)


def _keep(character: str) -> str:
    """The character, a space in its place, or nothing."""
    if character in _APOSTROPHES:
        return ""
    category = unicodedata.category(character)
    if category == "Lo" or character.isspace():
        return character
    if category[0] == "C":  # control, format (zero-width), surrogate, unassigned
        return ""
    return " " if category[0] in "PSZ" else character
