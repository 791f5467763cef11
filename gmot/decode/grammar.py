"""Back-off language models as graphs over words. Needs k2 and kaldilm."""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike
from gmot.decode.k2_import import import_k2
from gmot.decode.lexicon_fst import BACK_OFF
from gmot.text.arpa import BOS, EOS, NgramModel, read_arpa
from gmot.text.tokens import WordTable

# In a process of its own: kaldilm aborts where it cannot read a file, and logs to stderr.
_CONVERT = """
import sys
import kaldilm
arpa, symbols, output, back_off = sys.argv[1:]
text = kaldilm.arpa2fst(arpa, disambig_symbol=back_off, read_symbol_table=symbols)
with open(output, "w", encoding="utf-8") as file:
    file.write(text)
"""


def compile_g(words: WordTable, arpa: PathLike) -> Any:
    """A back-off language model as an acceptor of words.

    Args:
      words: must have every word of the language model.
      arpa: an ARPA file; its probabilities become natural logarithms.
    Returns:
      k2.Fsa without ``aux_labels``, sorted by arcs. Its labels are words; the arcs that
      back off are labelled ``words.ids["#0"]``.
    Raises:
      GmotError: a word is not in ``words``, the ARPA file is missing or broken, no k2 or kaldilm.
    """
    k2 = import_k2()
    model = read_arpa(arpa)
    found = {word for (word,) in model.tables[0]}
    lacking = sorted(found.difference(words.words, {BOS, EOS}))
    if lacking:
        raise GmotError(
            f"{arpa}: {len(lacking)} words of the language model are not in words.txt: "
            f"{lacking[:5]}. Make the model from this lang folder (local/make_ngram.py)."
        )
    if not {BOS, EOS} <= found:
        raise GmotError(
            f"{arpa}: not a language model of sentences: {BOS} or {EOS} is not among its words. "
            "Make the model again (local/make_ngram.py)."
        )
    graph = k2.Fsa.from_openfst(_convert(model, words, arpa), acceptor=False)
    return k2.arc_sort(k2.Fsa(graph.arcs))


def _convert(model: NgramModel, words: WordTable, arpa: PathLike) -> str:
    """Text of kaldilm's FST, from an ARPA file rewritten by :meth:`NgramModel.save_arpa`."""
    if importlib.util.find_spec("kaldilm") is None:
        raise GmotError("kaldilm is not installed, G needs it (requirements/common.txt).")
    with tempfile.TemporaryDirectory() as folder:
        rewritten, symbols, output = (Path(folder) / n for n in ("lm.arpa", "words.txt", "fst"))
        model.save_arpa(rewritten)
        words.save(symbols)
        done = subprocess.run(
            [sys.executable, "-c", _CONVERT, *map(str, (rewritten, symbols, output)), BACK_OFF],
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            raise GmotError(
                f"{arpa}: kaldilm made no graph of it (status {done.returncode}: "
                f"{' '.join(last) or 'no message'}). Make the model again (local/make_ngram.py)."
            )
        return output.read_text(encoding="utf-8")
