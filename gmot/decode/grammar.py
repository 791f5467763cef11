"""Back-off n-gram LMs as acceptors of words (G). Needs k2 and kaldilm."""

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

# Run in a subprocess: kaldilm aborts on files that it cannot read, and logs to stderr.
_CONVERT = """
import sys
import kaldilm
arpa, symbols, output, back_off = sys.argv[1:]
text = kaldilm.arpa2fst(arpa, disambig_symbol=back_off, read_symbol_table=symbols)
with open(output, "w", encoding="utf-8") as file:
    file.write(text)
"""


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
    done = subprocess.run(
        [sys.executable, "-c", _CONVERT, *map(str, (arpa, symbols, output)), BACK_OFF],
        capture_output=True,
        text=True,
        errors="replace",
    )
    if not done.returncode:
        return None
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return f"status {done.returncode}: {' '.join(last) or 'no message'}"
