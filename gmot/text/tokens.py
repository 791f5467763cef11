"""Symbol tables of tokens and words."""

from collections.abc import Iterable

from gmot.common import GmotError, PathLike, fingerprint, read_utf8, require_file, write_lines

BLANK = "<blk>"
BLANK_ID = 0
UNK = "<unk>"
UNK_ID = 1
APOSTROPHES = "'\u2019\u02bc"


class SymbolTable:
    """Symbols numbered from 0, stored as icefall's ``symbol id`` lines.

    Args:
      symbols: distinct, non-empty, without white space; the position is the id.
      origin: their file, for error messages.

    Raises:
      GmotError: a symbol is repeated, is empty or contains white space, or the table does not
        begin with :attr:`first_symbols` or end with :attr:`last_symbols`.
    """

    first_symbols: list[str] = []
    last_symbols: list[str] = []

    def __init__(self, symbols: Iterable[str], origin: PathLike = "symbols"):
        self.symbols = list(symbols)
        self.ids: dict[str, int] = {symbol: i for i, symbol in enumerate(self.symbols)}
        first, last = self.first_symbols, self.last_symbols
        begin, end = self.symbols[: len(first)], self.symbols[len(self.symbols) - len(last) :]
        for verb, found, expected in (("begins", begin, first), ("ends", end, last)):
            if found != expected:
                raise GmotError(
                    f"{origin}: {verb} with {found}, expected {expected}. "
                    "Make the lang folder again (local/prepare_lang.py)."
                )
        if len(self.ids) != len(self.symbols):
            repeated = sorted(s for s in self.ids if self.symbols.count(s) > 1)
            raise GmotError(f"{origin}: symbols occur more than once: {repeated[:5]}.")
        broken = [s for s in self.symbols if s.split() != [s]]
        if broken:
            raise GmotError(f"{origin}: symbols are empty or contain white space: {broken[:5]}.")

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self.ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Symbols of ids."""
        return [self.symbols[i] for i in ids]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of symbols and order."""
        return fingerprint(*self.symbols)

    def save(self, path: PathLike) -> None:
        write_lines(path, (f"{symbol} {i}" for i, symbol in enumerate(self.symbols)))

    @classmethod
    def load(cls, path: PathLike):
        """Read ``symbol id`` lines, ids ascending from 0.

        Raises:
          GmotError: the file is missing or malformed.
        """
        require_file(path, "Symbol table", "Make the lang folder first (local/prepare_lang.py).")
        symbols: list[str] = []
        for number, line in enumerate(read_utf8(path).splitlines(), 1):
            fields = line.split()
            if len(fields) != 2 or fields[1] != str(len(symbols)):
                raise GmotError(
                    f"{path}, line {number}: found '{line}', expected 'symbol {len(symbols)}'."
                )
            symbols.append(fields[0])
        return cls(symbols, origin=path)


class TokenTable(SymbolTable):
    """Outputs of the model: ``<blk>``, ``<unk>``, then pieces.

    Disambiguation symbols are added when graphs are compiled.
    """

    first_symbols = [BLANK, UNK]

    @classmethod
    def from_pieces(cls, pieces: Iterable[str]) -> "TokenTable":
        """Table of the distinct pieces, sorted."""
        return cls([BLANK, UNK, *sorted(set(pieces) - {BLANK, UNK})])

    def encode(self, pieces: Iterable[str]) -> list[int]:
        """Ids of pieces; a piece that is not in the table becomes ``<unk>``."""
        return [self.ids.get(piece, UNK_ID) for piece in pieces]


class WordTable(SymbolTable):
    """Words of the decoding graph: ``<eps>``, words, then ``#0 <s> </s>``."""

    first_symbols = ["<eps>"]
    last_symbols = ["#0", "<s>", "</s>"]

    @classmethod
    def from_words(cls, words: Iterable[str]) -> "WordTable":
        """Table of the distinct words, sorted."""
        return cls([*cls.first_symbols, *sorted(set(words)), *cls.last_symbols])

    @property
    def words(self) -> list[str]:
        """Words without the special symbols."""
        return self.symbols[1:-3]


def check_tokens(
    trained_with: str | None, tokens: TokenTable, exp_dir: PathLike, lang_dir: PathLike
) -> None:
    """Check that a model, of fingerprint ``trained_with``, has the tokens of a lang folder.

    Raises:
      GmotError: it was trained with others.
    """
    if trained_with != tokens.fingerprint:
        raise GmotError(
            f"{lang_dir}: tokens {tokens.fingerprint}, but {exp_dir} was trained with "
            f"{trained_with}. Give the --lang-dir of the training."
        )
