"""The lexicon as a transducer, pieces in and words out. Needs k2."""

from typing import Any, Dict, List, Tuple

import torch

from gmot.common import GmotError
from gmot.decode.epsilon import make_fsa
from gmot.text.lexicon import Lexicon
from gmot.text.tokens import BLANK, TokenTable, WordTable

BACK_OFF = "#0"


def compile_l(lexicon: Lexicon, tokens: TokenTable, words: WordTable) -> Any:
    """Spellings of words, with the disambiguation symbols that make them determinizable.

    Args:
      lexicon: spelled in ``tokens``, its words in ``words``.
      tokens: outputs of the model; the symbols ``#0, #1, ...`` have the ids after theirs.
      words: of the language model.
    Returns:
      k2.Fsa with words as ``aux_labels``; ``#0`` becomes the back-off of the language model.
    Raises:
      GmotError: a word is not in ``words``, or a piece not in ``tokens``.
    """
    lacking = [w for w in lexicon.words if w not in words]
    strange = sorted(
        {p for s in lexicon.spellings.values() for p in s if p not in tokens or p == BLANK}
    )
    if lacking or strange:
        raise GmotError(
            f"lexicon: words that words.txt lacks: {lacking[:5]}; pieces that are no outputs of "
            f"the model: {strange[:5]}. Make the lang folder again (local/prepare_lang.py)."
        )
    arcs: List[Tuple[int, int, int, int]] = []  # source, destination, piece, word
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


def _disambiguate(lexicon: Lexicon, first: int) -> List[Tuple[str, list]]:
    """Append ``#1, #2, ...`` where a spelling is another's too, or begins another's.

    ``#0`` (the id ``first``) is the language model's back-off.
    """
    beginnings = {tuple(s[:n]) for s in lexicon.spellings.values() for n in range(1, len(s))}
    used: Dict[Tuple[str, ...], int] = {}
    same: Dict[Tuple[str, ...], int] = {}
    for spelling in map(tuple, lexicon.spellings.values()):
        same[spelling] = same.get(spelling, 0) + 1
    result = []
    for word, pieces in lexicon.spellings.items():
        spelling: list = list(pieces)
        key = tuple(pieces)
        if same[key] > 1 or key in beginnings:
            used[key] = used.get(key, 0) + 1
            spelling.append(first + used[key])
        result.append((word, spelling))
    return result
