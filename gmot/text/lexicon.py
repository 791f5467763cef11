"""Words: how sentences are cut into them, and how they are spelled in pieces."""

import logging
import re
import tempfile
import warnings
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.text.normalize import normalize_text
from gmot.text.tokens import UNK


def segment(sentences: Iterable[str], words: Iterable[str] = ()) -> Iterator[List[str]]:
    """Cut sentences into words with jieba's dictionary.

    jieba's hidden Markov model, which invents words, is off: a string that is
    not in the dictionary becomes single characters, which the lexicon spells
    anyway. The result depends on the sentence alone.

    Args:
      sentences: normalised texts.
      words: more words for the dictionary, as frequent as it takes to keep them whole.
    Yields:
      The words of each sentence, without spaces.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba asks for pkg_resources
        import jieba

    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        # Otherwise it trusts a file that anybody may have left in /tmp.
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    for word in sorted({word for word in words if len(word) > 1}):
        if not tokenizer.FREQ.get(word):
            tokenizer.add_word(word)
    for sentence in sentences:
        yield [word for word in tokenizer.cut(sentence, HMM=False) if word.strip()]


class WordList(NamedTuple):
    """The words of a pronunciation lexicon, sorted, and what was left out of it."""

    words: List[str]
    repeated: int  # lines: other pronunciations of a word
    no_words: List[str]  # silence, noise and the like


def read_word_list(path: PathLike) -> WordList:
    """Read the words of a pronunciation lexicon: ``word phone phone ...`` lines.

    Words are normalised as the transcripts are. ``SIL``, ``<...>`` and what has
    nothing that is spoken in it are no words.

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
            word = normalize_text(fields[0])
            if fields[0].strip("!").upper() == "SIL" or re.fullmatch("<.*>", fields[0]):
                word = ""
            if not word or " " in word:
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
        words = set(words)
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
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            word, *pieces = line.split() or [""]
            if not pieces:
                raise GmotError(
                    f"{path}, line {number}: found '{line}', expected 'word piece ...'."
                )
            if word in spellings:
                raise GmotError(f"{path}, line {number}: '{word}' stands there before.")
            spellings[word] = pieces
        return cls(spellings)
