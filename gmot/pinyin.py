"""How Chinese characters sound: in their sentence, and at all."""

from functools import cache
from typing import FrozenSet, List, Sequence


def sounds_in_context(units: Sequence[str]) -> List[str]:
    """The toned pinyin of every unit of a sentence, read as its neighbours ask.

    Args:
      units: characters, and longer units such as ``<unk>``.
    Returns:
      One a unit, as ``hang2``; empty for what is not a Chinese character.
    """
    # A space in the place of a longer unit keeps positions; nothing is read across it.
    return _read("".join(unit if len(unit) == 1 else " " for unit in units))


@cache
def possible_sounds(unit: str) -> FrozenSet[str]:
    """All readings of a character; none for what is not a Chinese character."""
    from pypinyin import Style, pinyin

    if len(unit) != 1:
        return frozenset()
    found = pinyin(unit, style=Style.TONE3, heteronym=True, errors=_unread)
    return frozenset(found[0]) - {""}


def _read(text: str) -> List[str]:
    from pypinyin import Style, pinyin  # its dictionaries take a second to load

    return [found[0] for found in pinyin(text, style=Style.TONE3, errors=_unread)]


def _unread(text: str) -> List[str]:
    return [""] * len(text)
