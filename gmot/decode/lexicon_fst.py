"""The lexicon as a transducer (L) from tokens to words. Needs k2."""

from collections import Counter
from typing import Any

import torch

from gmot.common import GmotError
from gmot.decode.epsilon import make_fsa
from gmot.text.lexicon import Lexicon
from gmot.text.tokens import BLANK, TokenTable, WordTable

BACK_OFF = "#0"


def compile_l(lexicon: Lexicon, tokens: TokenTable, words: WordTable) -> Any:
    """L with disambiguation symbols, so that LG can be determinized.

    Args:
      lexicon: spellings in ``tokens`` of words in ``words``.
      tokens: outputs of the model; the symbols ``#0, #1, ...`` have the ids after theirs.
      words: words of the LM.
    Returns:
      k2.Fsa with words as ``aux_labels``; ``#0`` is mapped to the back-off of the LM.
    Raises:
      GmotError: a word is not in ``words``, or a piece not in ``tokens``.
    """
    unknown_words = [w for w in lexicon.words if w not in words]
    unknown_pieces = sorted(
        {p for s in lexicon.spellings.values() for p in s if p not in tokens or p == BLANK}
    )
    if unknown_words or unknown_pieces:
        raise GmotError(
            f"lexicon: words that are not in words.txt: {unknown_words[:5]}; pieces that are not "
            f"outputs of the model: {unknown_pieces[:5]}. Make the lang folder again "
            "(local/prepare_lang.py)."
        )
    arcs: list[tuple[int, int, int, int]] = []  # source, destination, piece, word
    loop, next_state = 0, 1
    for word, pieces in _disambiguate(lexicon, len(tokens)):
        ids = [tokens.ids[p] if isinstance(p, str) else p for p in pieces]
        output, source = words.ids[word], loop
        for position, label in enumerate(ids):
            last = position == len(ids) - 1
            arcs.append((source, loop if last else next_state, label, output))
            source, output = next_state, 0
            next_state += 0 if last else 1
    arcs.append((loop, loop, len(tokens), words.ids[BACK_OFF]))
    arcs.append((loop, next_state, -1, -1))
    return make_fsa(torch.tensor(arcs), torch.zeros(len(arcs)))


def _disambiguate(lexicon: Lexicon, first: int) -> list[tuple[str, list]]:
    """Append ``#1, #2, ...`` to spellings of several words and to prefixes of other spellings.

    ``#0`` (the id ``first``) is the back-off of the LM.
    """
    prefixes = {tuple(s[:n]) for s in lexicon.spellings.values() for n in range(1, len(s))}
    used: dict[tuple[str, ...], int] = {}
    homophones = Counter(map(tuple, lexicon.spellings.values()))
    result = []
    for word, pieces in lexicon.spellings.items():
        spelling: list = list(pieces)
        key = tuple(pieces)
        if homophones[key] > 1 or key in prefixes:
            used[key] = used.get(key, 0) + 1
            spelling.append(first + used[key])
        result.append((word, spelling))
    return result
