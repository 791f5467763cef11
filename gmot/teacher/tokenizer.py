"""Text to the pieces that are both the CTC units and the teacher's tokens."""

import functools
import hashlib
import re
import unicodedata
from typing import Any, Dict, Iterator, List, Optional

from gmot.common import PathLike
from gmot.teacher.loading import load_part
from gmot.text.tokens import UNK

METASPACE = "\u2581"  # SentencePiece's mark of a word's beginning

# BERT's tokenizers split a text at spaces and on both sides of these characters, so that the
# pieces of a text are those of its units.
_HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
)
_ACCENTS = "\u0300-\u036f"
_UNITS = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")
_CHARACTERS = re.compile(rf"\S[{_ACCENTS}]*")
_PROBE = "\u4e2d\u6587 T\u6064 t \uff21 \xc9 \xe9 e ok"  # case, width, accents


class TeacherTokenizer:
    """Text to the pieces that are both the CTC units and the teacher's tokens.

    A WordPiece tokenizer (bert-base-chinese and its like) splits Chinese
    characters itself, so its pieces are taken as they are. A SentencePiece
    tokenizer joins characters into words, which is too coarse for CTC: there
    each character is looked up by itself.

    What the vocabulary lacks as it is written is looked up in other written forms
    (:func:`written_forms`): a tokenizer with lower-case pieces alone and
    ``do_lower_case`` off, as that of bert-base-chinese, spells ``T恤`` ``t 恤``.

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
        self._unit_pieces = functools.lru_cache(maxsize=65536)(self._look_up)

    def tokenize(self, text: str) -> List[str]:
        """The CTC pieces of ``text``.

        What the vocabulary lacks in all written forms becomes ``<unk>``, and a ``<unk>`` in
        the text, as in normalised transcripts, stays one.
        """
        pieces: List[str] = []
        for part in re.split(f"({UNK})", text):
            pieces += [UNK] if part == UNK else self._split(part)
        return pieces

    def _split(self, text: str) -> List[str]:
        pieces = self._plain(text)
        if UNK not in pieces:
            return pieces
        return [piece for unit in self._units(text) for piece in self._unit_pieces(unit)]

    def _units(self, text: str) -> List[str]:
        """Parts of a text that are spelled independently of each other."""
        return (_UNITS if self.splits_characters else _CHARACTERS).findall(text)

    def _look_up(self, unit: str) -> List[str]:
        """The pieces of the written form with the fewest unknown pieces, the first of equals."""
        found: List[List[str]] = []
        for form in written_forms(unit):
            found.append(self._plain(form))
            if UNK not in found[-1]:
                break
        return min(found, key=lambda pieces: pieces.count(UNK))

    def _plain(self, text: str) -> List[str]:
        """The pieces of a text as it is written."""
        if self.splits_characters:
            unknown = self._tokenizer.unk_token
            return [UNK if p == unknown else p for p in self._tokenizer.tokenize(text)]
        return [c if c in self._vocabulary else UNK for c in text if not c.isspace()]

    def unknown(self, text: str) -> List[str]:
        """What of ``text`` cannot be spelled, in its order.

        Single characters; where the tokenizer has pieces of several letters, whole words of
        letters. ``<unk>`` itself is not among them.
        """
        units = [unit for part in text.split(UNK) for unit in self._units(part)]
        return [unit for unit in units if UNK in self._unit_pieces(unit)]

    @property
    def fingerprint(self) -> str:
        """Of the vocabulary and the way of splitting."""
        splitting = (self.splits_characters, self._plain(_PROBE), self.tokenize(_PROBE))
        digest = hashlib.sha256(str(splitting).encode("utf-8", "surrogatepass"))
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


def written_forms(text: str) -> Iterator[str]:
    """Other written forms of a text, the nearest first; the text itself is the first.

    Unicode composition and decomposition (NFC, NFD), half-width (NFKC), without accents; each of
    them as it is, in lower and in upper case.
    """
    decomposed = unicodedata.normalize("NFKD", text)
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC"))]
    forms.append(unicodedata.normalize("NFKC", re.sub(f"[{_ACCENTS}]", "", decomposed)))
    for form in dict.fromkeys(forms):
        yield from dict.fromkeys((form, form.lower(), form.upper()))
