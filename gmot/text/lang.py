"""The lang folder: tokens, words, lexicon and text, all out of the training transcripts."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from tqdm import tqdm

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.text.lexicon import Lexicon, segment
from gmot.text.normalize import normalizer_like
from gmot.text.tokens import UNK, TokenTable, WordTable


@dataclass
class Lang:
    """What recognition knows of a language.

    Attributes:
      tokens: outputs of the model.
      words: of the decoding graph.
      lexicon: words -> pieces.
      text: the training sentences in words of the lexicon.
    """

    tokens: TokenTable
    words: WordTable
    lexicon: Lexicon
    text: List[List[str]]

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        tokenize: Callable[[str], List[str]],
        words: Sequence[str] = (),
        pieces: Sequence[str] = (),
    ) -> "Lang":
        """Build everything out of normalised training texts.

        Args:
          texts: of the training part alone.
          tokenize: text -> pieces (``TeacherTokenizer.tokenize``).
          words: more words, to cut the texts into and for the lexicon; those whose
            pieces are no tokens are left out.
          pieces: more tokens, such as those that :func:`read_kept` gives.
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
    folder: PathLike, tokenize: Callable[[str], List[str]]
) -> Tuple[List[str], List[str]]:
    """The tokens and words of another lang folder, to be kept in a new one.

    A model that was trained with them knows more than a small corpus can show:
    what it is trained on next need not lose it.

    Args:
      folder: of the model that training will start from.
      tokenize: of the new lang folder.
    Returns:
      Its tokens and its words.
    Raises:
      GmotError: a file is missing, or its words were spelled by another tokenizer.
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
    """Sentences of a text file in words of a lexicon, and what was left out."""

    sentences: List[List[str]]
    empty: int  # lines in which nothing is spoken
    dropped: int  # sentences with too many unknown words


def read_text(path: PathLike, lexicon: Lexicon, max_unknown: float = 0.2) -> ReadText:
    """Read raw sentences, a line each: normalised and segmented as the training text is.

    Letters get the case of the lexicon's words (:func:`gmot.text.normalize.normalizer_like`).

    Args:
      path: UTF-8.
      lexicon: a word that is not in it becomes its characters, a character ``<unk>``.
      max_unknown: a sentence with a larger share of ``<unk>`` is dropped.
    Raises:
      GmotError: the file is missing, empty or not UTF-8, or no sentence is left.
    """
    require_file(path, "Text of the language model", "Give a file of sentences, a line each.")
    result = ReadText([], 0, 0)
    normalize = normalizer_like(lexicon.words)

    def texts() -> Iterator[str]:
        with open(path, "rb") as f:  # bytes: "\n" alone ends a line
            for number, line in enumerate(f, 1):
                try:
                    text = normalize(line.decode("utf-8-sig"))
                except UnicodeDecodeError as error:
                    raise GmotError(f"{path}, line {number}: not UTF-8 ({error}).") from None
                if text:
                    yield text
                else:
                    result.empty += 1

    bar = tqdm(segment(texts(), lexicon.words), desc=str(path), unit="sentence", disable=None)
    for sentence in map(lexicon.known_words, bar):
        if sentence.count(UNK) > max_unknown * len(sentence):
            result.dropped += 1
        else:
            result.sentences.append(sentence)
    if not result.sentences:
        raise GmotError(
            f"{path}: no sentence is left: {result.empty} lines are empty, in {result.dropped} "
            f"more than {max_unknown:.0%} of the words are unknown. Give text of the language of "
            "the training transcripts."
        )
    return result


def describe_part(texts: Sequence[str], tokenizer: Any, tokens: TokenTable) -> Dict[str, Any]:
    """Count what a part holds, and what of it the tokens and the teacher lack.

    Args:
      texts: the part's transcripts.
      tokenizer: has ``tokenize(text)`` and ``unknown(text)``.
      tokens: made of the training part.
    Returns:
      ``utterances``, ``pieces``, ``oov_pieces``, ``oov`` (piece -> count, the
      most frequent first), ``utterances_with_digits_or_latin`` and
      ``lacking_in_teacher`` (character, or word of letters -> count).
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
