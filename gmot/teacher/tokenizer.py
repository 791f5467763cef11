"""Text to the pieces that are both the CTC units and the teacher's tokens."""

import functools
import hashlib
import re
from typing import Any, Dict, List, Optional

from gmot.common import PathLike
from gmot.teacher.loading import load_part
from gmot.text.tokens import UNK

METASPACE = "\u2581"  # SentencePiece's mark of a word's beginning


class TeacherTokenizer:
    """Text to the pieces that are both the CTC units and the teacher's tokens.

    A WordPiece tokenizer (bert-base-chinese and its like) splits Chinese
    characters itself, so its pieces are taken as they are. A SentencePiece
    tokenizer joins characters into words, which is too coarse for CTC: there
    each character is looked up by itself.

    Args:
      folder_or_name: a Hugging Face folder, or the name of a model that
        transformers can find.

    Raises:
      GmotError: it holds no tokenizer.
    """

    def __init__(self, folder_or_name: PathLike):
        self._tokenizer = load_part("AutoTokenizer", folder_or_name, "tokenizer")
        self._vocabulary: Dict[str, int] = self._tokenizer.get_vocab()
        pieces = self._tokenizer.tokenize("\u4e2d\u6587")  # two characters, one word
        self.splits_characters = len(pieces) == 2 and METASPACE not in pieces
        self._is_unknown = functools.lru_cache(maxsize=None)(self._lookup_unknown)

    def tokenize(self, text: str) -> List[str]:
        """The CTC pieces of ``text``.

        What the vocabulary lacks becomes ``<unk>``, and a ``<unk>`` in the text, as
        decoders write it, stays one.
        """
        pieces: List[str] = []
        for part in re.split(f"({UNK})", text):
            pieces += [UNK] if part == UNK else self._split(part)
        return pieces

    def _split(self, text: str) -> List[str]:
        if self.splits_characters:
            unknown = self._tokenizer.unk_token
            return [UNK if p == unknown else p for p in self._tokenizer.tokenize(text)]
        return [c if c in self._vocabulary else UNK for c in text if not c.isspace()]

    def unknown(self, text: str) -> List[str]:
        """The characters of ``text`` that the vocabulary lacks, in their order."""
        return [c for c in text if not c.isspace() and self._is_unknown(c)]

    def _lookup_unknown(self, character: str) -> bool:
        return self.tokenize(character) == [UNK]

    @property
    def fingerprint(self) -> str:
        """Of the vocabulary and the way of splitting."""
        digest = hashlib.sha256(str(self.splits_characters).encode())
        for piece, index in sorted(self._vocabulary.items()):
            digest.update(f"{piece}\0{index}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    @property
    def num_dropped(self) -> int:
        """Positions after the first that are fed to the model but are not pieces."""
        return 0 if self.splits_characters else 1

    def input_ids(self, text: str) -> List[int]:
        """What the model is fed: ``[CLS] pieces [SEP]``, or ``<s> U+2581 pieces </s>``.

        The SentencePiece models have seen U+2581 before every sentence.
        """
        tokenizer = self._tokenizer
        pieces = [tokenizer.unk_token if p == UNK else p for p in self.tokenize(text)]
        if not self.splits_characters:
            pieces = [METASPACE, *pieces]
        ids = tokenizer.convert_tokens_to_ids(pieces)
        return [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]

    @property
    def mask_id(self) -> Optional[int]:
        """Of the mask token; None where there is none."""
        return self._tokenizer.mask_token_id

    def max_pieces(self, encoder: Any) -> int:
        """How many pieces of a text the model takes, beside what is put around them."""
        # RoBERTa's positions begin after its padding index.
        offset = getattr(getattr(encoder, "embeddings", None), "padding_idx", None)
        positions = encoder.config.max_position_embeddings - (0 if offset is None else offset + 1)
        positions = min(positions, self._tokenizer.model_max_length)
        return positions - 2 - self.num_dropped
