"""Words: how sentences are cut into them, and how they are spelled in pieces."""

import copy
import functools
import logging
import re
import tempfile
import unicodedata
import warnings
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple

from gmot.common import GmotError, PathLike, atomic_path, read_utf8, require_file
from gmot.text.normalize import CJK, normalize_text
from gmot.text.tokens import APOSTROPHES, UNK

_CJK = re.compile(f"[{CJK}]")


def segment(sentences: Iterable[str], words: Iterable[str] = ()) -> Iterator[List[str]]:
    """Word segmentation with jieba's dictionary (most probable sequence of words).

    jieba's hidden Markov model, which invents words, is not used: a Chinese string that is
    not in the dictionary becomes single characters, which the lexicon spells
    anyway. A run of letters, digits and apostrophes is never divided: it is a word, or part
    of a word of the dictionary such as ``T恤``. ``<unk>`` is a word. The result depends on the
    sentence alone.

    Args:
      sentences: normalised texts.
      words: more words for the dictionary, as frequent as it takes to keep them whole.
    Yields:
      The words of each sentence, without spaces.
    """
    tokenizer = copy.copy(_jieba())
    tokenizer.FREQ = dict(tokenizer.FREQ)  # it gets words of its own
    for word in sorted({word for word in words if len(word) > 1}):
        if not tokenizer.FREQ.get(word):
            tokenizer.add_word(word)
    for sentence in sentences:
        parts = [part for chunk in sentence.split() for part in re.split(f"({UNK})", chunk)]
        yield [w for part in parts for w in ([UNK] if part == UNK else _words(part, tokenizer))]


@functools.cache
def _jieba() -> Any:
    """jieba's tokenizer with its dictionary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba asks for pkg_resources
        import jieba

    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        # Otherwise it trusts a file that anybody may have left in /tmp.
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    return tokenizer


def _words(text: str, tokenizer: Any) -> List[str]:
    """The words of a text without spaces.

    jieba's ``cut`` divides a run of letters wherever its dictionary has a word in it. Here
    the words that begin or end within a run leave the graph of possible words.
    """
    inside = [_in_run(a) and _in_run(b) for a, b in zip(text, text[1:])] + [False]
    ends = tokenizer.get_DAG(text)  # first character -> last characters of possible words
    for first in ends:
        ends[first] = [last for last in ends[first] if not inside[last]]
        if not ends[first]:
            ends[first] = [inside.index(False, first)]
    route: Dict[int, Any] = {}
    tokenizer.calc(text, ends, route)
    words, first = [], 0
    while first < len(text):
        last = route[first][1]
        words.append(text[first : last + 1])
        first = last + 1
    return words


def _in_run(character: str) -> bool:
    if character in APOSTROPHES:
        return True
    return unicodedata.category(character)[0] in "LMN" and not _CJK.match(character)


class WordList(NamedTuple):
    """The words of a pronunciation lexicon, sorted, and what was left out of it."""

    words: List[str]
    repeated: int  # lines: other pronunciations of a word
    no_words: List[str]  # silence, noise and the like


def read_word_list(path: PathLike, normalize: Callable[[str], str] = normalize_text) -> WordList:
    """Read the words of a pronunciation lexicon: ``word phone phone ...`` lines.

    The number of a variant, as in ``今天(2)``, is no part of the word. ``SIL``, tags such as
    ``<...>`` and what has nothing that is spoken in it are no words.

    Args:
      path: UTF-8.
      normalize: normalisation of the transcripts (:func:`gmot.text.normalize.normalizer_like`).
    Raises:
      GmotError: the file is missing, is not UTF-8, has a line without phones, or no words.
    """
    require_file(path, "Word lexicon", "Give a file of 'word phone phone ...' lines.")
    words, no_words, repeated = set(), [], 0
    number = 0
    with open(path, "rb") as f:  # bytes: "\n" alone ends a line
        for number, line in enumerate(f, 1):
            try:
                fields = line.decode("utf-8-sig").split()
            except UnicodeDecodeError as error:
                raise GmotError(f"{path}, line {number}: not UTF-8 ({error}).") from None
            if not fields:
                continue
            if len(fields) < 2:
                raise GmotError(
                    f"{path}, line {number}: found '{fields[0]}', expected 'word phone phone ...'. "
                    "Mend the line or remove it."
                )
            word = normalize(re.sub(r"(?<=.)[(\uff08]\d+[)\uff09]$", "", fields[0]))
            if fields[0].strip("!").upper() == "SIL":
                word = ""
            if not word or " " in word or UNK in word:
                no_words.append(fields[0])
            elif word in words:
                repeated += 1
            else:
                words.add(word)
    if not words:
        raise GmotError(
            f"{path}: no words in {number} lines. Give a file of 'word phone ...' lines."
        )
    return WordList(sorted(words), repeated, no_words)


class Lexicon:
    """How each word is spelled in pieces, one spelling a word.

    Args:
      spellings: word -> pieces. ``<unk>`` is spelled ``<unk>`` and always there.

    Raises:
      GmotError: a word has no pieces.
    """

    def __init__(self, spellings: Dict[str, List[str]]):
        empty = sorted(word for word, pieces in spellings.items() if not pieces)
        if empty:
            raise GmotError(f"lexicon: words without pieces: {empty[:5]}.")
        self.spellings = {UNK: [UNK], **dict(sorted(spellings.items()))}

    @classmethod
    def build(
        cls,
        words: Iterable[str],
        tokenize: Callable[[str], List[str]],
        pieces: Iterable[str],
    ) -> "Lexicon":
        """Spell words and their single characters.

        Single characters are words too, so that words which are not in the
        lexicon can still be spelled. A word is left out when one of its pieces
        is not among ``pieces``: no model that was trained on those can output it.

        Args:
          words: the words of the training text.
          tokenize: text -> pieces.
          pieces: what the model outputs.
        """
        known = set(pieces) - {UNK}
        words = set(words) - {UNK}
        spellings = {}
        for word in words.union(*words):
            spelling = tokenize(word)
            if spelling and known.issuperset(spelling):
                spellings[word] = spelling
        return cls(spellings)

    def __len__(self) -> int:
        return len(self.spellings)

    def __contains__(self, word: str) -> bool:
        return word in self.spellings

    @property
    def words(self) -> List[str]:
        return list(self.spellings)

    def known_words(self, sentence: Iterable[str]) -> List[str]:
        """The same sentence in words of the lexicon.

        A word that is not in it becomes its characters; a character that is not
        in it becomes ``<unk>``.
        """
        return [
            unit if unit in self else UNK
            for word in sentence
            for unit in ([word] if word in self else word)
        ]

    def save(self, path: PathLike) -> None:
        """Write ``word piece piece ...`` lines."""
        with atomic_path(path) as temporary:
            lines = (f"{word} {' '.join(pieces)}\n" for word, pieces in self.spellings.items())
            temporary.write_text("".join(lines), encoding="utf-8")

    @classmethod
    def load(cls, path: PathLike) -> "Lexicon":
        """Read what :meth:`save` wrote.

        Raises:
          GmotError: the file is missing or malformed, or a word stands twice.
        """
        require_file(path, "Lexicon", "Make the lang folder first (local/prepare_lang.py).")
        spellings: Dict[str, List[str]] = {}
        for number, line in enumerate(read_utf8(path).splitlines(), 1):
            word, *pieces = line.split() or [""]
            if not pieces:
                raise GmotError(
                    f"{path}, line {number}: found '{line}', expected 'word piece ...'."
                )
            if word in spellings:
                raise GmotError(f"{path}, line {number}: '{word}' stands there before.")
            spellings[word] = pieces
        return cls(spellings)
