"""Tokenization of text into pieces, which are CTC units and tokens of the teacher."""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.teacher.loading import load_pretrained
from gmot.text.tokens import UNK

METASPACE = "\u2581"  # SentencePiece's word boundary

# BERT's tokenizers split a text at spaces and on both sides of these characters, so the pieces of
# a text are those of its units.
_HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
)
_ACCENTS = "\u0300-\u036f"
_UNITS = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")
_CHARACTERS = re.compile(rf"\S[{_ACCENTS}]*")
_PROBE = "\u4e2d\u6587 T\u6064 t \uff21 \xc9 \xe9 e ok"  # case, width, accents


class TeacherTokenizer:
    """Text -> pieces, by the tokenizer of a Hugging Face folder or model name.

    A WordPiece tokenizer (such as bert-base-chinese's) splits Chinese characters, so its pieces
    are used unchanged. A SentencePiece tokenizer joins characters into words, which is too coarse
    for CTC: each character is looked up on its own.

    Text outside of the vocabulary is looked up in other written forms (:func:`written_forms`): a
    tokenizer with lower-case pieces alone and ``do_lower_case`` off, as bert-base-chinese's, gives
    ``t 恤`` for ``T恤``.

    Raises:
      GmotError: it has no tokenizer.
    """

    def __init__(self, folder_or_name: PathLike):
        self._tokenizer = load_pretrained("AutoTokenizer", folder_or_name, "tokenizer")
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        pieces = self._tokenizer.tokenize("\u4e2d\u6587")  # two characters, one word
        self.splits_characters = len(pieces) == 2 and METASPACE not in pieces
        # Units are tokenized independently of each other.
        self._units = _UNITS if self.splits_characters else _CHARACTERS
        self._unit_pieces = functools.lru_cache(maxsize=65536)(self._look_up)
        # A tokenizer's call per text takes ten times as long as a table of units.
        units = [p for unit in self._units.findall(_PROBE) for p in self._plain(unit)]
        self._by_units = self.splits_characters and units == self._plain(_PROBE)

    def tokenize(self, text: str) -> list[str]:
        """Pieces; ``<unk>`` is text without a written form in the vocabulary, or ``<unk>``."""
        pieces: list[str] = []
        for part in re.split(f"({UNK})", text):
            if part == UNK:
                pieces.append(UNK)
            elif self._by_units or UNK in (found := self._plain(part)):
                pieces += [p for unit in self._units.findall(part) for p in self._unit_pieces(unit)]
            else:
                pieces += found
        return pieces

    def _look_up(self, unit: str) -> list[str]:
        """Pieces of the first written form with the fewest unknown pieces."""
        return min(map(self._plain, written_forms(unit)), key=lambda pieces: pieces.count(UNK))

    def _plain(self, text: str) -> list[str]:
        """Pieces of a text in its own written form."""
        if self.splits_characters:
            unknown = self._tokenizer.unk_token
            return [UNK if p == unknown else p for p in self._tokenizer.tokenize(text)]
        return [c if c in self._vocabulary else UNK for c in text if not c.isspace()]

    def unknown(self, text: str) -> list[str]:
        """Units of ``text`` that become ``<unk>``, in their order.

        Single characters, or words of letters if the tokenizer has pieces of several letters.
        ``<unk>`` itself is not included.
        """
        units = [unit for part in text.split(UNK) for unit in self._units.findall(part)]
        return [unit for unit in units if UNK in self._unit_pieces(unit)]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of vocabulary and splitting."""
        splitting = (self.splits_characters, self._plain(_PROBE), self.tokenize(_PROBE))
        digest = hashlib.sha256(str(splitting).encode("utf-8", "surrogatepass"))
        for piece, index in sorted(self._vocabulary.items()):
            digest.update(f"{piece}\0{index}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    @property
    def num_dropped(self) -> int:
        """Input positions after the first that are not pieces."""
        return 0 if self.splits_characters else 1

    def input_ids(self, text: str, max_pieces: int, split: str) -> list[int]:
        """Input of the model: ``[CLS] pieces [SEP]``, or ``<s> U+2581 pieces </s>``.

        SentencePiece models were trained with U+2581 before every sentence.

        Raises:
          GmotError: more than ``max_pieces``; ``split`` is where the text comes from.
        """
        tokenizer = self._tokenizer
        pieces = [tokenizer.unk_token if p == UNK else p for p in self.tokenize(text)]
        if len(pieces) > max_pieces:
            raise GmotError(
                f"the language model takes {max_pieces} tokens, this text has {len(pieces)}: "
                f"'{text[:40]}...'. Remove its utterance from {split}, or split it."
            )
        if not self.splits_characters:
            pieces = [METASPACE, *pieces]
        ids = tokenizer.convert_tokens_to_ids(pieces)
        return [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]

    def pad(self, batch: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Padded input ids of a batch, and their mask (1 = valid): each ``(N, L)`` int64."""
        pad_id = self._tokenizer.pad_token_id or 0
        ids = torch.full((len(batch), max(map(len, batch))), pad_id)
        mask = torch.zeros_like(ids)
        for n, row in enumerate(batch):
            ids[n, : len(row)] = torch.tensor(row)
            mask[n, : len(row)] = 1
        return ids, mask

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token; None if there is none."""
        return self._tokenizer.mask_token_id

    def max_pieces(self, encoder: Any) -> int:
        """Maximal number of pieces that an encoder takes, without the tokens around them."""
        # RoBERTa's positions begin after the padding index.
        offset = getattr(getattr(encoder, "embeddings", None), "padding_idx", None)
        positions = encoder.config.max_position_embeddings - (0 if offset is None else offset + 1)
        positions = min(positions, self._tokenizer.model_max_length)
        return positions - 2 - self.num_dropped


def written_forms(text: str) -> Iterator[str]:
    """Written forms of a text, the nearest first, beginning with the text itself.

    Unicode composition and decomposition (NFC, NFD), half-width (NFKC), without accents; each
    unchanged, in lower and in upper case.
    """
    decomposed = unicodedata.normalize("NFKD", text)
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC"))]
    forms.append(unicodedata.normalize("NFKC", re.sub(f"[{_ACCENTS}]", "", decomposed)))
    for form in dict.fromkeys(forms):
        yield from dict.fromkeys((form, form.lower(), form.upper()))
