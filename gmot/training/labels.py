"""Token ids of texts."""

from collections.abc import Callable, Iterable

from gmot.common import GmotError
from gmot.text.tokens import TokenTable


class Labels:
    """Token ids of texts; ``tokenize`` (text to pieces) is called once per distinct text."""

    def __init__(self, tokens: TokenTable, tokenize: Callable[[str], list[str]]):
        self.tokens, self.tokenize = tokens, tokenize
        self._ids: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        if text not in self._ids:
            self._ids[text] = self.tokens.encode(self.tokenize(text))
        return self._ids[text]

    def add(self, texts: Iterable[str], lang_dir: str) -> None:
        """Tokenize training texts; raises GmotError if ``lang_dir`` lacks a piece of them."""
        known, missing = set(self.tokens.symbols), set()
        for text in dict.fromkeys(texts):
            pieces = self.tokenize(text)
            missing |= set(pieces) - known
            if not missing:
                self._ids[text] = self.tokens.encode(pieces)
        if missing:
            raise GmotError(
                f"{lang_dir}/tokens.txt lacks pieces of the training text: "
                f"{sorted(missing)[:5]}. Give the --teacher of stage 4, or run stage 4 again."
            )
