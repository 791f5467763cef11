"""Word segmentation, and spellings of words in pieces."""

import copy
import functools
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from gmot.common import GmotError, PathLike, read_utf8, require_file, write_lines
from gmot.text.normalize import CJK, normalize_text
from gmot.text.tokens import UNK
from gmot.text.units import runs

_CJK = re.compile(f"[{CJK}]")


def segment(sentences: Iterable[str], words: Iterable[str] = ()) -> Iterator[list[str]]:
    """Words of normalised sentences, without spaces.

    Words are separated by spaces, and those of Chinese text by jieba's dictionary (most probable
    sequence). jieba's hidden Markov model, which invents words, is not used: Chinese strings
    outside the dictionary become single characters. A run of other characters (:func:`runs`) is
    never divided: it is a word, or part of a dictionary word such as ``T恤``. ``<unk>`` is a word.
    The result depends on the sentence alone. ``words`` are added to the dictionary, with
    frequencies that keep them undivided.
    """
    added = sorted(word for word in set(words) if len(word) > 1 and _CJK.search(word))
    tokenizer = None  # loading takes a second
    for sentence in sentences:
        found: list[str] = []
        for part in re.split(rf"({UNK})|\s+", sentence):
            if not part:
                continue
            if part == UNK or not _CJK.search(part):
                found.append(part)
                continue
            tokenizer = tokenizer or _with_words(added)
            found += _words(part, tokenizer)
        yield found


def _with_words(words: Iterable[str]) -> Any:
    """jieba's tokenizer with additional words."""
    tokenizer = copy.copy(_jieba())
    tokenizer.FREQ = dict(tokenizer.FREQ)  # not shared
    for word in words:
        if not tokenizer.FREQ.get(word):
            tokenizer.add_word(word)
    return tokenizer


@functools.cache
def _jieba() -> Any:
    """jieba's tokenizer with its dictionary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba asks for pkg_resources
        import jieba

    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        # The default is a cache file in /tmp, which anybody may have written.
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer


def _words(text: str, tokenizer: Any) -> list[str]:
    """Words of a text without spaces.

    jieba's ``cut`` divides a run of letters wherever the dictionary has a word in it. Here words
    that begin or end within a run are removed from the graph of possible words.
    """
    inside = [not _CJK.search(text[i : i + 2]) for i in range(len(text) - 1)] + [False]
    ends = {  # first character -> last characters of possible words
        first: [last for last in found if not inside[last]] or [inside.index(False, first)]
        for first, found in tokenizer.get_DAG(text).items()
    }
    route: dict[int, Any] = {}
    tokenizer.calc(text, ends, route)
    words, first = [], 0
    while first < len(text):
        last = route[first][1]
        words.append(text[first : last + 1])
        first = last + 1
    return words


def read_lines(path: PathLike) -> Iterator[tuple[int, str]]:
    """Number and text of each line of a UTF-8 file; only ``\\n`` ends a line.

    Raises:
      GmotError: a line is not UTF-8.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise GmotError(f"{path}, line {number}: not UTF-8 ({error}).") from None


class WordList(NamedTuple):
    """Sorted words of a pronunciation lexicon, and what was left out."""

    words: list[str]
    repeated: int  # lines with another pronunciation of a word
    no_words: list[str]  # silence, noise


def read_word_list(path: PathLike, normalize: Callable[[str], str] = normalize_text) -> WordList:
    """Read the words of a pronunciation lexicon: ``word phone phone ...`` lines in UTF-8.

    Words are normalised like the transcripts, by ``normalize``. The number of a variant, as in
    ``今天(2)``, is removed. ``SIL``, tags such as ``<...>`` and entries without spoken text are not
    words.

    Raises:
      GmotError: the file is missing, is not UTF-8, has a line without phones, or no words.
    """
    require_file(path, "Word lexicon", "Give a file of 'word phone phone ...' lines.")
    words, no_words, repeated, number = set(), [], 0, 0
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) == 1:
            raise GmotError(
                f"{path}, line {number}: found '{fields[0]}', expected 'word phone phone ...'. "
                "Fix or remove the line."
            )
        if not fields:
            continue
        word = normalize(re.sub(r"(?<=.)[(\uff08]\d+[)\uff09]$", "", fields[0]))
        silence = fields[0].strip("!").upper() == "SIL"
        if silence or not word or " " in word or UNK in word:
            no_words.append(fields[0])
        elif word in words:
            repeated += 1
        else:
            words.add(word)
    if not words:
        raise GmotError(f"{path}: no words in {number} lines, expected 'word phone phone ...'.")
    return WordList(sorted(words), repeated, no_words)


class Lexicon:
    """Spelling of each word in pieces, one per word: word -> pieces.

    ``<unk>``, spelled ``<unk>``, is added.
    """

    def __init__(self, spellings: dict[str, list[str]]):
        self.spellings = {UNK: [UNK], **dict(sorted(spellings.items()))}

    @classmethod
    def build(
        cls, words: Iterable[str], tokenize: Callable[[str], list[str]], pieces: Iterable[str]
    ) -> "Lexicon":
        """Spell words, and their Chinese or Japanese characters, of which unknown words consist.

        A word with a piece outside of ``pieces``, the outputs of the model, is left out.
        """
        known = set(pieces) - {UNK}
        words = set(words) - {UNK}
        spellings = {word: tokenize(word) for word in words.union(*map(_CJK.findall, words))}
        return cls({word: s for word, s in spellings.items() if s and known.issuperset(s)})

    def __len__(self) -> int:
        return len(self.spellings)

    def __contains__(self, word: str) -> bool:
        return word in self.spellings

    @property
    def words(self) -> list[str]:
        return list(self.spellings)

    def known_words(self, sentence: Iterable[str]) -> list[str]:
        """The sentence in words of the lexicon.

        An unknown word becomes its runs (:func:`gmot.text.units.runs`), which are Chinese or
        Japanese characters or words of letters; an unknown run becomes ``<unk>``.
        """
        return [
            unit if unit in self else UNK
            for word in sentence
            for unit in ([word] if word in self else [word[a:b] for a, b in runs(word)])
        ]

    def save(self, path: PathLike) -> None:
        """Write ``word piece piece ...`` lines."""
        write_lines(
            path, (" ".join([word, *spelling]) for word, spelling in self.spellings.items())
        )

    @classmethod
    def load(cls, path: PathLike) -> "Lexicon":
        """Read what :meth:`save` wrote.

        Raises:
          GmotError: the file is missing or malformed, or a word is repeated.
        """
        require_file(path, "Lexicon", "Make the lang folder first (local/prepare_lang.py).")
        spellings: dict[str, list[str]] = {}
        for number, line in enumerate(read_utf8(path).splitlines(), 1):
            word, *pieces = line.split() or [""]
            if not pieces:
                raise GmotError(
                    f"{path}, line {number}: found '{line}', expected 'word piece ...'."
                )
            if word in spellings:
                raise GmotError(f"{path}, line {number}: '{word}' is repeated.")
            spellings[word] = pieces
        return cls(spellings)
