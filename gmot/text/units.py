"""Units of recognition: the tokens of a text, which are substrings of it."""

import functools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from gmot.common import (
    GmotError,
    PathLike,
    atomic_path,
    fingerprint,
    read_json,
    require_file,
    write_json,
)
from gmot.text.normalize import CJK, join_words
from gmot.text.tokens import UNK

MARK = "\u2581"  # SentencePiece's: the token begins a run
KINDS = ("characters", "pieces", "bpe")
_RUN = re.compile(rf"{UNK}|[{CJK}]|(?:(?!{UNK})[^\s{CJK}])+")
_CONTINUED = "##"  # of the BPE model: tokens within a run
_BPE = {"unk_token": UNK, "continuing_subword_prefix": _CONTINUED}

Span = tuple[int, int]  # first character, one after the last


def runs(text: str) -> list[Span]:
    """Spans of the runs of a normalised text, of which each token is a part.

    A run is ``<unk>``, a Chinese or Japanese character, or as many other characters as possible
    without white space.
    """
    return [match.span() for match in _RUN.finditer(text)]


def is_cjk(run: str) -> bool:
    """Whether a run is a Chinese or Japanese character."""
    return re.fullmatch(f"[{CJK}]", run) is not None


def detokenize(tokens: Iterable[str]) -> str:
    """Text of tokens: the inverse of :meth:`Units.tokenize` on normalised text.

    ``<unk>`` is a word of its own.
    """
    text = "".join(f"{MARK}{UNK}{MARK}" if token == UNK else token for token in tokens)
    return join_words(text.replace(MARK, " ").split())


class Units(ABC):
    """Tokens of normalised text.

    The first token of a run begins with ``U+2581``, unless the run is a Chinese or Japanese
    character: ``▁he llo 世 界``. The tokens of a run do not depend on its neighbours, so those of a
    text are those of its words.
    """

    kind: str

    def __init__(self) -> None:
        self._cuts = functools.lru_cache(maxsize=65536)(self._cut)

    @abstractmethod
    def _cut(self, run: str) -> list[int] | None:
        """Ends of the tokens of a run that is not a Chinese or Japanese character.

        None: it cannot be spelled.
        """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Fingerprint of the kind, and of what else determines the tokens."""

    def spans(self, text: str) -> list[Span]:
        """Span of each token in the text."""
        return [span for span, _ in self._tokens(text)]

    def tokenize(self, text: str) -> list[str]:
        """Tokens of a text; ``<unk>`` is a run that cannot be spelled, or ``<unk>``."""
        return [token for _, token in self._tokens(text)]

    def unknown(self, text: str) -> list[str]:
        """Runs of a text that become ``<unk>``, in their order; without ``<unk>`` itself."""
        return [
            text[start:end]
            for start, end in runs(text)
            if text[start:end] != UNK and self._cuts(text[start:end]) is None
        ]

    def _tokens(self, text: str) -> list[tuple[Span, str]]:
        found: list[tuple[Span, str]] = []
        for first, last in runs(text):
            run = text[first:last]
            ends = None if run == UNK else self._cuts(run)
            if ends is None:
                found.append(((first, last), UNK))
                continue
            mark, start = "" if is_cjk(run) else MARK, 0
            for end in ends:
                found.append(((first + start, first + end), mark + run[start:end]))
                mark, start = "", end
        return found


class Characters(Units):
    """Characters; a combining mark is one, too."""

    kind = "characters"

    def _cut(self, run: str) -> list[int]:
        return list(range(1, len(run) + 1))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.kind)


class Spelling(Protocol):
    """Tokenizer of a language model."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of vocabulary and splitting."""
        ...

    def cut(self, run: str) -> list[int] | None:
        """Ends of its pieces in a run; None if a part of the run is not in the vocabulary."""


class Pieces(Units):
    """Pieces of a language model's tokenizer, written as in the text: case and accents are kept."""

    kind = "pieces"

    def __init__(self, tokenizer: Spelling):
        super().__init__()
        self.tokenizer = tokenizer

    def _cut(self, run: str) -> list[int] | None:
        return self.tokenizer.cut(run)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.kind, self.tokenizer.fingerprint)


class Bpe(Units):
    """Byte-pair encoding; Chinese and Japanese characters are tokens of their own.

    Characters outside of the training text are tokens, too, so nothing is unknown.

    Args:
      model: ``tokenizers.Tokenizer`` of :meth:`train` or :meth:`load`.
    """

    kind = "bpe"

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "Bpe":
        """Byte-pair encoding of the runs of the training texts.

        Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units"
        (ACL 2016). The result is the same for the same texts.

        Args:
          vocab_size: largest number of tokens, without Chinese and Japanese characters.

        Raises:
          GmotError: the characters of the texts alone are more than ``vocab_size`` tokens.
        """
        from tokenizers import Tokenizer, models, trainers

        found = [text[a:b] for text in texts for a, b in runs(text)]
        found = [run for run in found if run != UNK and not is_cjk(run)]
        alphabet = {run[:1] for run in found} | {_CONTINUED + c for run in found for c in run[1:]}
        if len(alphabet) > vocab_size:
            raise GmotError(
                f"--vocab-size {vocab_size}: the training text has {len(alphabet)} different "
                "characters, at the beginning of words and within them. Give a larger "
                "--vocab-size, or use --units characters."
            )
        # Pairs of equal counts are merged in the order of their ids, which is that of the words in
        # a hash table unless the alphabet is given as special tokens.
        special = [UNK, *sorted(alphabet)]
        trained = Tokenizer(models.BPE(**_BPE))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size + 1,  # <unk>
            special_tokens=special,
            continuing_subword_prefix=_CONTINUED,
            show_progress=False,
        )
        trained.train_from_iterator(found, trainer)
        vocabulary, merges = _parts(trained)
        return cls(Tokenizer(models.BPE(vocabulary, merges, **_BPE)))

    @classmethod
    def load(cls, path: PathLike) -> "Bpe":
        """Read what :meth:`save` wrote; raises GmotError if it is missing or broken."""
        from tokenizers import Tokenizer

        remedy = "Make the lang folder again (local/prepare_lang.py)."
        require_file(path, "Byte-pair encoding", remedy)
        try:
            return cls(Tokenizer.from_file(str(path)))
        except Exception as error:  # the library has no class of its own for it
            raise GmotError(f"{path}: not a byte-pair encoding ({error}). {remedy}") from None

    def save(self, path: PathLike) -> None:
        """Write the file of :meth:`load`."""
        with atomic_path(path) as temporary:
            self.model.save(str(temporary))

    def _cut(self, run: str) -> list[int]:
        return [end for _, end in self.model.encode(run).offsets]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.kind, *_parts(self.model))


def _parts(model: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary, sorted by id, and merges of a BPE model."""
    parts = json.loads(model.to_str())["model"]
    vocabulary = dict(sorted(parts["vocab"].items(), key=lambda item: item[1]))
    # The format depends on the version of tokenizers.
    merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in parts["merges"]]
    return vocabulary, merges


def save_units(units: Units, lang_dir: PathLike) -> None:
    """Write ``units.json``, and the ``bpe.json`` of a byte-pair encoding."""
    folder = Path(lang_dir)
    if isinstance(units, Bpe):
        units.save(folder / "bpe.json")
    write_json(folder / "units.json", {"kind": units.kind, "fingerprint": units.fingerprint})


def load_units(lang_dir: PathLike, tokenizer: Callable[[], Spelling] | None = None) -> Units:
    """Units of a lang folder.

    Args:
      tokenizer: returns the tokenizer of the teacher; called for word pieces alone.

    Raises:
      GmotError: a file is missing or broken, the units are pieces and ``tokenizer`` is missing, or
        the lang folder was made with another one.
    """
    path = Path(lang_dir) / "units.json"
    stored = read_json(path)
    kind = stored.get("kind") if isinstance(stored, dict) else None
    if kind not in KINDS:
        raise GmotError(f"{path}: kind {kind}, expected one of {', '.join(KINDS)}.")
    if kind == "pieces" and tokenizer is None:
        raise GmotError(
            f"{lang_dir}: its tokens are pieces of the teacher's tokenizer. Give the --teacher of "
            "stage 4."
        )
    units: Units
    if kind == "pieces":
        assert tokenizer is not None
        units = Pieces(tokenizer())
    else:
        units = Characters() if kind == "characters" else Bpe.load(path.with_name("bpe.json"))
    if stored.get("fingerprint") != units.fingerprint:
        raise GmotError(
            f"{lang_dir}: made with other units ({kind} {stored.get('fingerprint')}) than found "
            f"now ({units.fingerprint}). Give the --teacher of stage 4, or run stage 4 again."
        )
    return units
