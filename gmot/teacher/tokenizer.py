"""The text as a language model reads it: pieces with their spans of characters."""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.teacher.loading import load_pretrained
from gmot.text.tokens import UNK
from gmot.text.units import MARK, Span, is_cjk, runs

_ACCENTS = "\u0300-\u036f"
# Case, width, accents, words, digits.
_PROBE = "\u4e2d\u6587 T\u6064 t \uff21 \xc9 \xe9 e ok don't Tokenizers 120"


class Piece(NamedTuple):
    """Token of a language model, and what it covers of the text: characters start to end - 1.

    The span of a word boundary is empty.
    """

    id: int
    start: int
    end: int


class TeacherTokenizer:
    """Text -> pieces, by the tokenizer of a Hugging Face folder or model name.

    Chinese and Japanese characters are looked up one by one: tokens of a recogniser are no longer
    than that, and SentencePiece joins characters into words. All other text is tokenized as the
    model has learned it, word by word, with the space before a word.

    Text outside of the vocabulary is looked up in other written forms (:func:`written_forms`): a
    tokenizer with lower-case pieces alone and ``do_lower_case`` off, as bert-base-chinese's, gives
    ``t 恤`` for ``T恤``.

    Raises:
      GmotError: it has no tokenizer, or one without any token for the ends of a text.
    """

    def __init__(self, folder_or_name: PathLike):
        tokenizer = load_pretrained("AutoTokenizer", folder_or_name, "tokenizer")
        self._tokenizer = tokenizer
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        # SentencePiece models were trained with U+2581 before every sentence.
        self._prefixed = any(MARK in piece for piece in tokenizer.tokenize("a")[:1])
        ends = (tokenizer.bos_token_id, tokenizer.eos_token_id)  # of causal models
        firsts = [i for i in (tokenizer.cls_token_id, *ends) if i is not None]
        lasts = [i for i in (tokenizer.sep_token_id, *ends[::-1]) if i is not None]
        if not firsts:
            raise GmotError(
                f"teacher {folder_or_name}: its tokenizer has no token for the ends of a text "
                "([CLS] and [SEP], or <s> and </s>)."
            )
        self._first, self._last = firsts[0], lasts[0]
        self._unknown: int | None = tokenizer.unk_token_id
        self._read = functools.lru_cache(maxsize=65536)(self._look_up)

    def pieces(self, text: str) -> list[Piece]:
        """Pieces of a normalised text; what the vocabulary lacks has the unknown token."""
        found: list[Piece] = []
        for start, end in runs(text):
            spaced = start > 0 and text[start - 1].isspace()
            run = text[start:end]
            if not found and self._prefixed and (run == UNK or is_cjk(run)):
                found.append(Piece(self._vocabulary[MARK], 0, 0))
            found += [Piece(i, start + a, start + b) for i, a, b in self._read(run, spaced)]
        return found

    def cut(self, run: str) -> list[int] | None:
        """Ends of the pieces of a run within a sentence (:class:`gmot.text.units.Pieces`).

        None: a part of it is not in the vocabulary. Pieces that share a character are one.
        """
        pieces = [piece for piece in self._read(run, True) if piece.end > piece.start]
        if not pieces or any(piece.id == self._unknown for piece in pieces):
            return None
        starts = {piece.start for piece in pieces} - {0}
        return [
            *(s for s in sorted(starts) if not any(p.start < s < p.end for p in pieces)),
            len(run),
        ]

    def _look_up(self, run: str, spaced: bool) -> list[Piece]:
        """Pieces of a run in the first written form with the fewest unknown ones."""
        if run == UNK:
            return [Piece(self._first if self._unknown is None else self._unknown, 0, len(run))]
        found = [self._of_form(run, run, spaced)]
        for form in written_forms(run):
            if not any(piece.id == self._unknown for piece in found[-1]):
                return found[-1]
            found.append(self._of_form(form, run, spaced))
        return min(found, key=lambda pieces: sum(p.id == self._unknown for p in pieces))

    def _of_form(self, form: str, run: str, spaced: bool) -> list[Piece]:
        """Pieces of a written form, with spans of the run: all of it if they differ in length."""
        if self._prefixed and is_cjk(run):  # as in the middle of a sentence
            ids = [i for character in form for i in self._of_character(character)]
            return [Piece(i, 0, len(run)) for i in ids]
        space = " " if spaced and not self._prefixed and not is_cjk(run) else ""
        offsets = self._tokenizer.is_fast and len(form) == len(run)
        made = self._tokenizer(
            space + form, add_special_tokens=False, return_offsets_mapping=offsets
        )
        ids = made["input_ids"]
        if not offsets:
            return [Piece(i, 0, len(run)) for i in ids]
        found = []
        for i, (start, end) in zip(ids, made["offset_mapping"]):
            start, end = max(start - len(space), 0), max(end - len(space), 0)
            end = start if i == self._vocabulary.get(MARK) and self._prefixed else end
            found.append(Piece(i, start, end))
        return found

    def _of_character(self, character: str) -> list[int]:
        """Ids of a character in a SentencePiece vocabulary: of itself, or of its bytes."""
        if character in self._vocabulary:
            return [self._vocabulary[character]]
        found = [self._vocabulary.get(f"<0x{byte:02X}>") for byte in character.encode()]
        ids = [i for i in found if i is not None]
        if len(ids) == len(found):
            return ids
        return [self._first if self._unknown is None else self._unknown]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of vocabulary and splitting."""
        digest = hashlib.sha256(repr((self._first, self._last, self.pieces(_PROBE))).encode())
        for piece, index in sorted(self._vocabulary.items()):
            digest.update(f"{piece}\0{index}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    def input(self, text: str, max_pieces: int, split: str) -> tuple[list[int], list[Span]]:
        """Ids of ``[CLS] pieces [SEP]`` (of a causal model: ``<s> pieces </s>``), and spans of all.

        The spans of the first and last one are empty.

        Raises:
          GmotError: more than ``max_pieces``; ``split`` is where the text comes from.
        """
        pieces = self.pieces(text)
        if len(pieces) > max_pieces:
            raise GmotError(
                f"the language model takes {max_pieces} tokens, this text has {len(pieces)}: "
                f"'{text[:40]}...'. Remove its utterance from {split}, or split it."
            )
        ids = [self._first, *(piece.id for piece in pieces), self._last]
        ends = (len(text), len(text))
        return ids, [(0, 0), *((piece.start, piece.end) for piece in pieces), ends]

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

    def max_pieces(self, model: Any) -> int:
        """Maximal number of pieces that a model takes, without the tokens around them."""
        # RoBERTa's positions begin after the padding index.
        offset = getattr(getattr(model, "embeddings", None), "padding_idx", None)
        limit = self._tokenizer.model_max_length
        positions = getattr(model.config, "max_position_embeddings", None) or limit  # T5: none
        return min(positions - (0 if offset is None else offset + 1), limit) - 2


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
