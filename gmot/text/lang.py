"""The lang folder: tokens, words, lexicon and text of the training transcripts."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.text.lexicon import Lexicon, read_lines, segment
from gmot.text.normalize import normalizer_like
from gmot.text.tokens import UNK, TokenTable, WordTable


@dataclass
class Lang:
    """Tokens, words and text of a language.

    Attributes:
      tokens: outputs of the model.
      words: of the decoding graph.
      lexicon: words -> pieces.
      text: training sentences in words of the lexicon.
    """

    tokens: TokenTable
    words: WordTable
    lexicon: Lexicon
    text: list[list[str]]

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        tokenize: Callable[[str], list[str]],
        words: Sequence[str] = (),
        pieces: Sequence[str] = (),
    ) -> "Lang":
        """Build a lang folder from normalised training texts.

        Args:
          texts: of the training split alone.
          tokenize: text -> pieces (``TeacherTokenizer.tokenize``).
          words: additional words for segmentation and lexicon, if their pieces are tokens.
          pieces: additional tokens, such as those of :func:`read_kept`.
        """
        spelled = (piece for text in texts for piece in tokenize(text))
        tokens = TokenTable.from_pieces(chain(pieces, spelled))
        sentences = list(segment(texts, words))
        lexicon = Lexicon.build(
            chain(words, chain.from_iterable(sentences)), tokenize, tokens.symbols
        )
        return cls(
            tokens=tokens,
            words=WordTable.from_words(lexicon.words),
            lexicon=lexicon,
            text=[lexicon.known_words(sentence) for sentence in sentences],
        )

    def save(self, folder: PathLike) -> None:
        """Write ``tokens.txt``, ``words.txt``, ``lexicon.txt`` and ``text``."""
        folder = Path(folder)
        self.tokens.save(folder / "tokens.txt")
        self.words.save(folder / "words.txt")
        self.lexicon.save(folder / "lexicon.txt")
        with atomic_path(folder / "text") as temporary:
            lines = (" ".join(words) + "\n" for words in self.text)
            temporary.write_text("".join(lines), encoding="utf-8")


def read_kept(
    folder: PathLike, tokenize: Callable[[str], list[str]]
) -> tuple[list[str], list[str]]:
    """Tokens and words of the lang folder of a pretrained model, to keep in a new one.

    Args:
      folder: of the model that training starts from.
      tokenize: of the new lang folder.

    Raises:
      GmotError: a file is missing, or the words were spelled by another tokenizer.
    """
    tokens = TokenTable.load(Path(folder) / "tokens.txt")
    lexicon = Lexicon.load(Path(folder) / "lexicon.txt")
    words = [word for word in lexicon.words if word != UNK]
    for word in words:
        if tokenize(word) != lexicon.spellings[word]:
            raise GmotError(
                f"{folder}: '{word}' is spelled {' '.join(lexicon.spellings[word])} there, "
                f"{' '.join(tokenize(word))} by this teacher. Give the --teacher of that training."
            )
    return tokens.symbols, words


@dataclass
class ReadText:
    """Sentences of a text file in words of a lexicon; numbers of empty and dropped ones."""

    sentences: list[list[str]]
    empty: int
    dropped: int  # too many unknown words


def read_text(path: PathLike, lexicon: Lexicon, max_unknown: float = 0.2) -> ReadText:
    """Read raw sentences, normalised and segmented like the training text.

    Letters get the case of the lexicon's words (:func:`gmot.text.normalize.normalizer_like`).

    Args:
      path: UTF-8 file, one sentence per line.
      lexicon: an unknown word becomes its characters, an unknown character ``<unk>``.
      max_unknown: a sentence with a larger share of ``<unk>`` is dropped.

    Raises:
      GmotError: the file is missing, empty or not UTF-8, or no sentence remains.
    """
    require_file(path, "Text of the language model", "Give a file with one sentence per line.")
    result = ReadText([], 0, 0)
    normalize = normalizer_like(lexicon.words)

    def texts() -> Iterator[str]:
        for _, line in read_lines(path):
            text = normalize(line)
            if text:
                yield text
            else:
                result.empty += 1

    from tqdm import tqdm

    bar = tqdm(segment(texts(), lexicon.words), desc=str(path), unit="sentence", disable=None)
    for sentence in map(lexicon.known_words, bar):
        if sentence.count(UNK) > max_unknown * len(sentence):
            result.dropped += 1
        else:
            result.sentences.append(sentence)
    if not result.sentences:
        raise GmotError(
            f"{path}: no usable sentence: {result.empty} empty lines, {result.dropped} sentences "
            f"with more than {max_unknown:.0%} unknown words. Give text in the language of the "
            "training transcripts."
        )
    return result


def describe_split(texts: Sequence[str], tokenizer: Any, tokens: TokenTable) -> dict[str, Any]:
    """Counts of a split, and of what tokens and teacher cannot represent.

    Args:
      texts: transcripts of the split.
      tokenizer: has ``tokenize(text)`` and ``unknown(text)``.
      tokens: of the training split.

    Returns:
      ``utterances``, ``pieces``, ``oov_pieces``, ``oov`` (piece -> count, the most frequent
      first), ``utterances_with_digits_or_latin`` and ``lacking_in_teacher`` (character, or word of
      letters -> count).
    """
    latin = re.compile("[0-9A-Za-z]")
    pieces = Counter(piece for text in texts for piece in tokenizer.tokenize(text))
    oov = Counter({piece: n for piece, n in pieces.items() if piece not in tokens})
    lacking = Counter(unit for text in texts for unit in tokenizer.unknown(text))
    return {
        "utterances": len(texts),
        "pieces": sum(pieces.values()),
        "oov_pieces": sum(oov.values()),
        "oov": dict(oov.most_common()),
        "utterances_with_digits_or_latin": sum(
            bool(latin.search(text.replace(UNK, ""))) for text in texts
        ),
        "lacking_in_teacher": dict(lacking.most_common()),
    }
