"""The lang folder: tokens, words, lexicon and text of the training transcripts."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from gmot.common import GmotError, PathLike, require_file, write_lines
from gmot.text.lexicon import Lexicon, read_lines, segment
from gmot.text.normalize import normalize_text
from gmot.text.tokens import UNK, TokenTable, WordTable
from gmot.text.units import Units


@dataclass
class Lang:
    """Tokens, words and text of a language."""

    tokens: TokenTable  # outputs of the model
    words: WordTable  # of the decoding graph
    lexicon: Lexicon
    text: list[list[str]]  # training sentences in words of the lexicon

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        tokenize: Callable[[str], list[str]],
        words: Sequence[str] = (),
        pieces: Sequence[str] = (),
    ) -> "Lang":
        """Build a lang folder from the normalised texts of the training split alone.

        Args:
          texts: of the training split.
          tokenize: text -> pieces (:meth:`gmot.text.units.Units.tokenize`).
          words: additional words for segmentation and lexicon, if their pieces are tokens.
          pieces: additional tokens, such as those of :func:`read_kept`.
        """
        tokens = TokenTable.from_pieces(chain(pieces, *map(tokenize, texts)))
        sentences = list(segment(texts, words))
        lexicon = Lexicon.build(chain(words, *sentences), tokenize, tokens.symbols)
        text = [lexicon.known_words(sentence) for sentence in sentences]
        return cls(tokens, WordTable.from_words(lexicon.words), lexicon, text)

    def save(self, folder: PathLike) -> None:
        """Write ``tokens.txt``, ``words.txt``, ``lexicon.txt`` and ``text``."""
        folder = Path(folder)
        self.tokens.save(folder / "tokens.txt")
        self.words.save(folder / "words.txt")
        self.lexicon.save(folder / "lexicon.txt")
        write_lines(folder / "text", map(" ".join, self.text))


def read_kept(
    folder: PathLike, tokenize: Callable[[str], list[str]]
) -> tuple[list[str], list[str]]:
    """Tokens and words of the lang folder of a pretrained model, to keep in a new one.

    Raises:
      GmotError: a file is missing, or the words have other spellings by these units.
    """
    tokens = TokenTable.load(Path(folder) / "tokens.txt")
    lexicon = Lexicon.load(Path(folder) / "lexicon.txt")
    words = [word for word in lexicon.words if word != UNK]
    for word in words:
        if tokenize(word) != lexicon.spellings[word]:
            raise GmotError(
                f"{folder}: '{word}' is spelled {' '.join(lexicon.spellings[word])} there, "
                f"{' '.join(tokenize(word))} here. Give the --units and --teacher of that training."
            )
    return tokens.symbols, words


class ReadText(NamedTuple):
    """Sentences of a text file in words of a lexicon; numbers of empty and dropped ones."""

    sentences: list[list[str]]
    empty: int
    dropped: int  # too many unknown words


def read_text(
    path: PathLike,
    lexicon: Lexicon,
    normalize: Callable[[str], str] = normalize_text,
    max_unknown: float = 0.2,
) -> ReadText:
    """Read raw sentences, one per line in UTF-8, segmented like the training text.

    Sentences are normalised by ``normalize``, that of the training transcripts. An unknown word
    becomes its Chinese or Japanese characters or ``<unk>`` (:meth:`Lexicon.known_words`); a
    sentence with a share of ``<unk>`` above ``max_unknown`` is dropped.

    Raises:
      GmotError: the file is missing, empty or not UTF-8, or no sentence remains.
    """
    require_file(path, "Text of the language model", "Give a file with one sentence per line.")
    from tqdm import tqdm  # of the extra "recipe"

    texts = (normalize(line) for _, line in read_lines(path))
    bar = tqdm(segment(texts, lexicon.words), desc=str(path), unit="sentence", disable=None)
    sentences: list[list[str]] = []
    empty = dropped = 0
    for sentence in map(lexicon.known_words, bar):
        if not sentence:
            empty += 1
        elif sentence.count(UNK) > max_unknown * len(sentence):
            dropped += 1
        else:
            sentences.append(sentence)
    if not sentences:
        raise GmotError(
            f"{path}: no usable sentence: {empty} empty lines, {dropped} sentences with more than "
            f"{max_unknown:.0%} unknown words. Give text in the language "
            "of the training transcripts, and their --normalizer."
        )
    return ReadText(sentences, empty, dropped)


def describe_split(texts: Sequence[str], units: Units, tokens: TokenTable) -> dict[str, Any]:
    """Counts of the transcripts of a split, and of what tokens and teacher cannot represent.

    Returns:
      ``utterances``, ``pieces``, ``oov_pieces``, ``oov`` (piece -> count, the most frequent
      first), ``utterances_with_digits_or_latin`` and ``lacking_in_teacher`` (Chinese character, or
      word -> count).
    """
    latin = re.compile("[0-9A-Za-z]")
    pieces = Counter(piece for text in texts for piece in units.tokenize(text))
    oov = Counter({piece: n for piece, n in pieces.items() if piece not in tokens})
    lacking = Counter(run for text in texts for run in units.unknown(text))
    return {
        "utterances": len(texts),
        "pieces": sum(pieces.values()),
        "oov_pieces": sum(oov.values()),
        "oov": dict(oov.most_common()),
        "utterances_with_digits_or_latin": len(
            [text for text in texts if latin.search(text.replace(UNK, ""))]
        ),
        "lacking_in_teacher": dict(lacking.most_common()),
    }
