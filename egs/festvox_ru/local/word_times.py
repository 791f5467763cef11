"""Word times from phone times: letters and phones of a sentence aligned by their sounds.

The label files of a festvox voice give the end of each phone, but not the words. Spelling and
phones of Russian run in parallel, so that a minimum-cost alignment of the letters with the phones
groups the phones into words. Costs: a letter of its usual sounds 0, silent soft and hard signs 0,
silent consonants 1 (``солнце``), pauses between words 0; everything else costs more, and a
sentence above :data:`MAX_COST` per letter is refused by the caller.
"""

import math
from collections.abc import Sequence

PAUSES = ("pau", "ssil")
# Letter -> its phones: stressed and reduced vowels, hard and soft, voiced and voiceless consonants.
SOUNDS = {
    letter: set(phones.split())
    for letter, phones in {
        "а": "a aa ay ae i y e",
        "о": "a oo ay o ae aa i",
        "е": "e ee i ii ae ay y yy oo o a",
        "ё": "oo o",
        "э": "e ee i ae ay y",
        "и": "i ii y yy ae ay",
        "ы": "y yy ay i ae",
        "у": "u uu ur",
        "ю": "u uu ur",
        "я": "a aa ae ay i e",
        "б": "b bb p pp",
        "в": "v vv f ff",
        "г": "g gg k kk h hh v vv",
        "д": "d dd t tt c",
        "ж": "zh sh",
        "з": "z zz s ss zh sh",
        "й": "j",
        "к": "k kk g gg h",
        "л": "l ll",
        "м": "m mm",
        "н": "n nn",
        "п": "p pp b bb",
        "р": "r rr",
        "с": "s ss z zz sh sch zh",
        "т": "t tt d dd c",
        "ф": "f ff v vv",
        "х": "h hh g gg",
        "ц": "c s",
        "ч": "ch sh",
        "ш": "sh zh",
        "щ": "sch sh",
        "ь": "",
        "ъ": "",
    }.items()
}
VOWELS = set("аоеёэиыуюя")
VOWEL_PHONES = set().union(*(SOUNDS[letter] for letter in VOWELS))
IOTATED = set("еёюяио")  # with a j before them at the start of a syllable, also ьи and ьо
MAX_COST = 0.1  # per letter


def _cost(letter: str, phone: str) -> float:
    if phone in PAUSES:
        return math.inf
    if phone in SOUNDS[letter]:
        return 0
    if (letter in VOWELS) != (phone in VOWEL_PHONES):
        return math.inf
    return 1.5 if letter in VOWELS else 2


def _silent(letter: str) -> float:
    return 0 if letter in "ьъ" else 3 if letter in VOWELS else 1


def align_words(
    words: Sequence[str], phones: Sequence[str]
) -> tuple[list[tuple[int, int]], float] | None:
    """Phones of each word as half-open ranges, and the cost per letter.

    Returns:
      None if the sentence cannot be aligned, or if a word has no phone.
    """
    letters = [(w, letter) for w, word in enumerate(words) for letter in word if letter in SOUNDS]
    rows, columns = len(letters) + 1, len(phones) + 1
    best = [[math.inf] * columns for _ in range(rows)]
    back: list[list[tuple[int, int]]] = [[(0, 0)] * columns for _ in range(rows)]
    best[0][0] = 0
    for i in range(rows):
        between = i in (0, rows - 1) or letters[i - 1][0] != letters[i][0]
        for j in range(columns):
            here = best[i][j]
            if here == math.inf:
                continue
            moves = []
            if j < len(phones):
                pause = phones[j] in PAUSES
                moves.append((0, 1, 0 if pause and between else 2 if pause else 3))
            if i < len(letters):
                letter = letters[i][1]
                moves.append((1, 0, _silent(letter)))
                if j < len(phones):
                    moves.append((1, 1, _cost(letter, phones[j])))
                if letter in IOTATED and list(phones[j : j + 1]) == ["j"] and j + 1 < len(phones):
                    moves.append((1, 2, _cost(letter, phones[j + 1])))
            for di, dj, cost in moves:
                if here + cost < best[i + di][j + dj]:
                    best[i + di][j + dj] = here + cost
                    back[i + di][j + dj] = (di, dj)
    if not letters or best[-1][-1] == math.inf:
        return None
    spans: list[list[int]] = [[] for _ in words]
    i, j = rows - 1, columns - 1
    while i or j:
        di, dj = back[i][j]
        if di and dj:
            spans[letters[i - 1][0]] += [j - dj, j]
        i, j = i - di, j - dj
    if not all(spans):
        return None
    return [(min(span), max(span)) for span in spans], best[-1][-1] / len(letters)
