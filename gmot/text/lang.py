"""The lang folder: tokens, words, lexicon and text, all out of the training transcripts."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from gmot.common import PathLike, atomic_path
from gmot.text.lexicon import Lexicon, segment
from gmot.text.tokens import TokenTable, WordTable


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
    def from_texts(cls, texts: Sequence[str], tokenize: Callable[[str], List[str]]) -> "Lang":
        """Build everything out of normalised training texts.

        Args:
          texts: of the training part alone.
          tokenize: text -> pieces (``TeacherTokenizer.tokenize``).
        """
        tokens = TokenTable.from_pieces(piece for text in texts for piece in tokenize(text))
        sentences = list(segment(texts))
        lexicon = Lexicon.build(
            (word for sentence in sentences for word in sentence), tokenize, tokens.symbols
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


def describe_part(texts: Sequence[str], tokenizer: Any, tokens: TokenTable) -> Dict[str, Any]:
    """Count what a part holds, and what of it the tokens and the teacher lack.

    Args:
      texts: the part's transcripts.
      tokenizer: has ``tokenize(text)`` and ``unknown(text)``.
      tokens: made of the training part.
    Returns:
      ``utterances``, ``pieces``, ``oov_pieces``, ``oov`` (piece -> count, the
      most frequent first), ``utterances_with_digits_or_latin`` and
      ``lacking_in_teacher`` (character -> count).
    """
    pieces = Counter(piece for text in texts for piece in tokenizer.tokenize(text))
    oov = Counter({piece: n for piece, n in pieces.items() if piece not in tokens})
    lacking = Counter(character for text in texts for character in tokenizer.unknown(text))
    return {
        "utterances": len(texts),
        "pieces": sum(pieces.values()),
        "oov_pieces": sum(oov.values()),
        "oov": dict(oov.most_common()),
        "utterances_with_digits_or_latin": sum(bool(re.search("[0-9A-Za-z]", t)) for t in texts),
        "lacking_in_teacher": dict(lacking.most_common()),
    }
