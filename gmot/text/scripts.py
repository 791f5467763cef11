"""Writing systems of transcripts: characters, scripts, normal forms, and what they say of a
language."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# First word of the Unicode name -> ISO 15924 code.
SCRIPTS = {
    "LATIN": "Latn",
    "CYRILLIC": "Cyrl",
    "GREEK": "Grek",
    "CJK": "Hani",
    "IDEOGRAPHIC": "Hani",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "KATAKANA-HIRAGANA": "Kana",
    "HANGUL": "Hang",
    "THAI": "Thai",
    "LAO": "Laoo",
    "KHMER": "Khmr",
    "MYANMAR": "Mymr",
    "TIBETAN": "Tibt",
    "ARABIC": "Arab",
    "HEBREW": "Hebr",
    "DEVANAGARI": "Deva",
    "BENGALI": "Beng",
    "TAMIL": "Taml",
    "TELUGU": "Telu",
    "KANNADA": "Knda",
    "MALAYALAM": "Mlym",
    "GUJARATI": "Gujr",
    "GURMUKHI": "Guru",
    "SINHALA": "Sinh",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "ETHIOPIC": "Ethi",
}
EAST_ASIAN = {"Hani", "Kana"}  # of one writing system
# Script -> language, where there is one that nearly all its text is in.
LANGUAGES = {"Hang": "ko", "Thai": "th", "Laoo": "lo", "Khmr": "km", "Mymr": "my", "Tibt": "bo"}
# Languages written without spaces between words, and those of them of Han characters.
HAN = {"zh", "yue", "wuu", "nan", "hak", "ja"}
UNSPACED = HAN | {"th", "lo", "km", "my", "bo"}
SWITCHING = 0.05  # share of utterances in two scripts from which a corpus is code-switching
TRACE = 0.005  # share of characters below which a script tells nothing of the language
RARE = 2  # occurrences up to which a character is rare


@dataclass
class TextStatistics:
    """What the transcripts of a corpus are written in.

    Attributes:
      texts: number of transcripts that are not empty.
      characters: occurrences of each character but white space.
      scripts: letters of each script, by its ISO 15924 code; ``"other"`` for scripts not listed.
      mixed: utterances with letters of several scripts (Han and kana are one).
      mixed_words: (utterance, word) with Latin beside Greek or Cyrillic letters in one word.
      decomposed: utterances in a normal form other than NFC.
      two_forms: canonically equal words that occur in more than one form.
      digits, lower, upper: utterances with digits, lower-case and upper-case letters.
    """

    texts: int = 0
    characters: Counter = field(default_factory=Counter)
    scripts: Counter = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    mixed_words: list[tuple[str, str]] = field(default_factory=list)
    decomposed: list[str] = field(default_factory=list)
    two_forms: list[str] = field(default_factory=list)
    digits: int = 0
    lower: int = 0
    upper: int = 0

    @property
    def rare(self) -> dict[str, int]:
        """Characters that occur once or twice."""
        return {c: n for c, n in sorted(self.characters.items()) if n <= RARE}


def text_statistics(texts: Iterable[tuple[str, str]]) -> TextStatistics:
    """Statistics of transcripts, (utterance, text)."""
    found = TextStatistics()
    forms: dict[str, str] = {}
    for utterance, text in texts:
        if not text.strip():
            continue
        found.texts += 1
        counts = Counter(text)
        found.characters.update({c: n for c, n in counts.items() if not c.isspace()})
        scripts = {script_of(c) for c in counts} - {None}
        found.digits += any(c.isdigit() for c in counts)
        found.lower += any(c.islower() for c in counts)
        found.upper += any(c.isupper() for c in counts)
        if len(scripts - EAST_ASIAN) + bool(scripts & EAST_ASIAN) > 1:
            found.mixed.append(utterance)
            found.mixed_words += [(utterance, word) for word in _look_alike(text)]
        if not text.isascii():
            if not unicodedata.is_normalized("NFC", text):
                found.decomposed.append(utterance)
            for word in text.split():
                composed = unicodedata.normalize("NFC", word)
                if forms.setdefault(composed, word) != word and composed not in found.two_forms:
                    found.two_forms.append(composed)
    for character, count in found.characters.items():
        script = script_of(character)
        if script is not None:
            found.scripts[script] += count
    return found


def script_of(character: str) -> str | None:
    """ISO 15924 code of a letter's script; None for what is no letter or belongs to any script."""
    if character.isascii():
        return "Latn" if character.isalpha() else None
    # Full-width and other compatibility forms are those of another character.
    character = unicodedata.normalize("NFKC", character)[:1]
    if unicodedata.category(character)[0] != "L":
        return None
    first = unicodedata.name(character, "").split(" ")[0]
    return None if first in ("MODIFIER", "MASCULINE", "FEMININE") else SCRIPTS.get(first, "other")


def _look_alike(text: str) -> list[str]:
    """Words of Latin and of Greek or Cyrillic letters: most often a slip of the keyboard."""
    return [
        word
        for word in re.findall(r"[^\W\d_]+", text)
        if {"Latn"} < (s := {script_of(c) for c in word}) and s & {"Cyrl", "Grek"}
    ]


def guess_language(statistics: TextStatistics) -> str:
    """Code of the language (BCP 47), as far as the characters tell it.

    ``zh``, ``ja``, ``ko``, ``en`` (Latin letters without diacritics), ...; ``zh-en`` and so on for
    code-switching with Latin words; ``und-Cyrl`` and so on where a script has many languages.
    """
    scripts: Mapping[str, int] = statistics.scripts
    total = sum(scripts.values())
    if not total:
        return "und"
    share = {script: count / total for script, count in scripts.items()}
    largest = max(share, key=lambda script: share[script])
    if largest == "Latn" and share.get("Hani", 0) + share.get("Kana", 0) > SWITCHING:
        largest = "Hani"  # a Latin word has many letters
    if largest in EAST_ASIAN:
        language = "ja" if share.get("Kana", 0) > TRACE else "zh"
    elif largest == "Latn":
        marked = sum(
            n for c, n in statistics.characters.items() if script_of(c) == "Latn" and ord(c) > 127
        )
        return "en" if marked < TRACE * scripts["Latn"] else "und-Latn"
    else:
        language = LANGUAGES.get(largest, f"und-{largest}")
    switching = (
        len(statistics.mixed) > SWITCHING * statistics.texts and share.get("Latn", 0) > TRACE
    )
    return f"{language}-en" if switching and not language.startswith("und") else language
