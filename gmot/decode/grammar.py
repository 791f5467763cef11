"""The lexicon as a transducer (L), and n-gram LMs as acceptors (G). Need k2, G also kaldilm."""

import importlib.util
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from gmot.common import GmotError, PathLike
from gmot.decode.fsa import make_fsa
from gmot.decode.k2_import import import_k2
from gmot.text.arpa import BOS, EOS, NgramModel, read_arpa
from gmot.text.lexicon import Lexicon
from gmot.text.tokens import BLANK, TokenTable, WordTable

BACK_OFF = "#0"

# Run in a subprocess: kaldilm aborts on files that it cannot read, and logs to stderr.
_CONVERT = """
import sys
import kaldilm
arpa, symbols, output, back_off = sys.argv[1:]
text = kaldilm.arpa2fst(arpa, disambig_symbol=back_off, read_symbol_table=symbols)
with open(output, "w", encoding="utf-8") as file:
    file.write(text)
"""


def compile_l(lexicon: Lexicon, tokens: TokenTable, words: WordTable) -> Any:
    """L with disambiguation symbols, so that LG can be determinized.

    Args:
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


def compile_g(words: WordTable, arpa: PathLike) -> Any:
    """G of a back-off LM.

    Args:
      words: must contain all words of the LM.
      arpa: ARPA file; probabilities become natural logarithms.
    Returns:
      k2.Fsa without ``aux_labels``, arc-sorted. Labels are words; back-off arcs are labelled
      ``words.ids["#0"]``.
    Raises:
      GmotError: a word is not in ``words``, the ARPA file is missing or broken, no k2 or kaldilm.
    """
    k2 = import_k2()
    model = read_arpa(arpa)
    found = {word for (word,) in model.tables[0]}
    unknown = sorted(found.difference(words.words, {BOS, EOS}))
    if unknown:
        raise GmotError(
            f"{arpa}: {len(unknown)} words of the LM are not in words.txt: {unknown[:5]}. "
            "Make the LM from this lang folder (local/make_ngram.py)."
        )
    if not {BOS, EOS} <= found:
        raise GmotError(
            f"{arpa}: {BOS} or {EOS} is not among its words, expected an LM of sentences. "
            "Make the LM again (local/make_ngram.py)."
        )
    graph = k2.Fsa.from_openfst(_convert(model, words, arpa), acceptor=False)
    return k2.arc_sort(k2.Fsa(graph.arcs))


def _convert(model: NgramModel, words: WordTable, arpa: PathLike) -> str:
    """Text of kaldilm's FST for the ARPA file, rewritten by :meth:`NgramModel.save_arpa`."""
    if importlib.util.find_spec("kaldilm") is None:
        raise GmotError(
            "kaldilm is not installed, but required for G (bash shared/environment.sh)."
        )
    with tempfile.TemporaryDirectory() as folder:
        rewritten, symbols, output = (Path(folder) / n for n in ("lm.arpa", "words.txt", "fst"))
        model.save_arpa(rewritten)
        words.save(symbols)
        failure = _run_kaldilm(rewritten, symbols, output)
        if failure:
            raise GmotError(
                f"{arpa}: kaldilm failed ({failure}). Make the LM again (local/make_ngram.py)."
            )
        return output.read_text(encoding="utf-8")


def _run_kaldilm(arpa: Path, symbols: Path, output: Path) -> str | None:
    """Convert an ARPA file in a subprocess; returns the error, if any."""
    command = [sys.executable, "-c", _CONVERT, *map(str, (arpa, symbols, output)), BACK_OFF]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no message"]
    return f"status {done.returncode}: {last[0]}" if done.returncode else None
