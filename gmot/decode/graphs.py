"""The decoding graphs H, HLG and G: compiled, written, read. Needs k2."""

import logging
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.decode.epsilon import remove_epsilon_backward
from gmot.decode.k2_import import import_k2
from gmot.decode.lexicon_fst import BACK_OFF, compile_l
from gmot.text.arpa import BOS, EOS, read_arpa
from gmot.text.lexicon import Lexicon
from gmot.text.tokens import TokenTable, WordTable

MAX_H_TOKENS = 10000
MAX_ARCS = 200_000_000  # 17 GB while HLG is made
_FORMAT = "gmot-graph-1"


def compile_h(num_tokens: int) -> Any:
    """The CTC topology: frames in, tokens out.

    This is the standard topology, which is what the model is trained with; the
    smaller "modified" one merges repeated tokens at will. It has
    num_tokens * (num_tokens + 1) arcs of 20 bytes: 4,300 tokens make 18.5
    million arcs, 370 MB on disk and 850 MB in memory; 10,000 tokens, the limit,
    2 GB on disk.

    Args:
      num_tokens: outputs of the model, blank included.
    Returns:
      k2.Fsa with tokens as ``aux_labels``.
    Raises:
      GmotError: more than 10,000 tokens, or no k2.
    """
    if num_tokens > MAX_H_TOKENS:
        raise GmotError(
            f"H of {num_tokens} tokens would have {num_tokens * (num_tokens + 1):,} arcs; at most "
            f"{MAX_H_TOKENS} tokens are allowed. Make tokens from the training text alone "
            "(local/prepare_lang.py), or decode with ctc-greedy-search."
        )
    return import_k2().ctc_topo(max_token=num_tokens - 1, modified=False)


def compile_hlg(
    lexicon: Lexicon,
    tokens: TokenTable,
    words: WordTable,
    arpa: PathLike,
    max_arcs: int = MAX_ARCS,
) -> Any:
    """Compose topology, lexicon and language model; log how large each step is.

    Args:
      lexicon: spelled in ``tokens``, its words in ``words``.
      tokens: outputs of the model.
      words: must have every word of the language model.
      arpa: an ARPA file; its probabilities become natural logarithms.
      max_arcs: refuse a graph of more arcs, before it is composed. Making takes about 85 bytes
        an arc, the file 20.
    Returns:
      k2.Fsa with words as ``aux_labels``, sorted by arcs.
    Raises:
      GmotError: the parts do not fit each other, the ARPA file is missing or
        broken, the graph would be too large, or no k2.
    """
    k2 = import_k2()
    clock = _Clock()
    lexicon_fst = k2.arc_sort(compile_l(lexicon, tokens, words))
    clock.log("L", lexicon_fst, f"{len(lexicon)} words")
    grammar = compile_g(words, arpa)
    clock.log("G", grammar)
    _guard(f"{arpa}: LG", _lg_arcs(grammar, lexicon, words), max_arcs)
    grammar.aux_labels = grammar.labels.masked_fill(grammar.labels == words.ids[BACK_OFF], 0)
    lg = k2.connect(k2.compose(lexicon_fst, grammar))
    if lg.num_arcs == 0:
        raise GmotError(f"{arpa}: lexicon and language model share no sentence.")
    lg = k2.connect(k2.determinize(lg))
    clock.log("LG, determinized", lg)
    # In-place edits of labels leave k2's cached properties stale: edit a copy.
    labels = lg.labels.clone()
    labels[labels >= len(tokens)] = 0
    lg.labels = labels
    lg = k2.arc_sort(remove_epsilon_backward(lg))
    clock.log("LG, without epsilons", lg)
    _guard(f"{arpa}: HLG", _hlg_arcs(lg, len(tokens)), max_arcs)
    hlg = k2.compose(compile_h(len(tokens)), lg, inner_labels="tokens")
    del lg, hlg.tokens
    hlg = k2.arc_sort(k2.connect(hlg))
    clock.log("HLG", hlg)
    return hlg


class _Clock:
    """Logs what each step of a composition made, and how long it took."""

    def __init__(self) -> None:
        self.before = time.monotonic()

    def log(self, what: str, graph: Any, more: str = "") -> None:
        now = time.monotonic()
        size = f"{graph.shape[0]:,} states, {graph.num_arcs:,} arcs"
        logging.info(
            "%s: %s, %.1f s", what, ", ".join(filter(None, [more, size])), now - self.before
        )
        self.before = now


def _lg_arcs(grammar: Any, lexicon: Lexicon, words: WordTable) -> int:
    """An upper bound of the arcs of L composed with G: each word of G is spelled."""
    lengths = torch.ones(len(words) + 1, dtype=torch.long)  # the last one is that of label -1
    for word, pieces in lexicon.spellings.items():
        lengths[words.ids[word]] = len(pieces) + 1  # and a disambiguation symbol
    return int(lengths[grammar.labels.long()].sum())


def _hlg_arcs(lg: Any, num_tokens: int) -> int:
    """The arcs of H composed with LG, but for the few that would repeat a token.

    A state of LG stands there once for each token that enters it, and once for
    the blank; each time with its own arcs, the blank's and that of the repeated token.
    """
    arcs = lg.arcs.values()[:, :3].long()
    leaving = torch.bincount(arcs[:, 0], minlength=lg.shape[0])
    arcs = arcs[arcs[:, 2] > 0]
    entered = torch.unique(arcs[:, 1] * num_tokens + arcs[:, 2]) // num_tokens
    return int((leaving[entered] + 2).sum() + (leaving + 1).sum())


def _guard(what: str, num_arcs: int, max_arcs: int) -> None:
    logging.info("%s: up to %s arcs, %.1f GB to make it", what, f"{num_arcs:,}", num_arcs * 85e-9)
    if num_arcs > max_arcs:
        raise GmotError(
            f"{what} would have {num_arcs:,} arcs, at most {max_arcs:,} are allowed (about "
            f"{num_arcs * 85e-9:.0f} GB of memory to make it). Prune its language model "
            "(local/make_ngram.py --max-ngrams or --prune): rescoring with the large one, which "
            "stays whole, recovers what is lost. Or, where memory allows, raise --max-arcs."
        )


def compile_g(words: WordTable, arpa: PathLike) -> Any:
    """A back-off language model as an acceptor of words.

    Args:
      words: must have every word of the language model.
      arpa: an ARPA file; its probabilities become natural logarithms.
    Returns:
      k2.Fsa without ``aux_labels``, sorted by arcs. Its labels are words; the arcs that
      back off are labelled ``words.ids["#0"]``.
    Raises:
      GmotError: a word is not in ``words``, the ARPA file is missing or broken, or no k2.
    """
    import kaldilm

    k2 = import_k2()
    # Our reader goes first: what is wrong with a file it says, and kaldilm ends the process.
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
    del model
    with tempfile.TemporaryDirectory() as folder:
        symbols = Path(folder) / "words.txt"
        words.save(symbols)
        text = kaldilm.arpa2fst(str(arpa), disambig_symbol=BACK_OFF, read_symbol_table=str(symbols))
    graph = k2.Fsa.from_openfst(text, acceptor=False)
    return k2.arc_sort(k2.Fsa(graph.arcs))


def save_graph(
    path: PathLike, graph: Any, tokens: Optional[TokenTable], words: Optional[WordTable] = None
) -> None:
    """Write a graph as plain tensors, atomically.

    Args:
      path: any ``torch.load`` can read it, with ``weights_only`` too.
      graph: k2.Fsa; H and HLG have ``aux_labels``, G has none.
      tokens: of its labels, None for G; their fingerprint is kept, to be checked on loading.
      words: of its output (of the labels of G), where there are words in it.
    """
    aux = getattr(graph, "aux_labels", None)
    ragged = aux is not None and not isinstance(aux, Tensor)
    state = {
        "format": _FORMAT,
        "arcs": graph.arcs.values().cpu().clone(),  # (arcs, 4) int32, scores as their bits
        "aux_labels": None if aux is None else (aux.values if ragged else aux).cpu().clone(),
        "aux_row_splits": aux.shape.row_splits(1).cpu().clone() if ragged else None,
        "tokens": tokens.fingerprint if tokens else None,
        "words": words.fingerprint if words else None,
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_graph(
    path: PathLike,
    tokens: Optional[TokenTable],
    words: Optional[WordTable] = None,
    device: Any = "cpu",
) -> Any:
    """Read a graph.

    Args:
      path: written by :func:`save_graph`.
      tokens: the model's outputs; None for G, whose labels are words.
      words: None for H, which knows no words.
      device: where it goes.
    Returns:
      k2.Fsa.
    Raises:
      GmotError: missing, broken, made of other tokens or words, or no k2.
    """
    k2 = import_k2()
    require_file(path, "Decoding graph", "Make it first (local/compile_graphs.py).")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["format"]
    except Exception as error:  # torch raises many kinds
        state, found = {}, repr(error)
    if found != _FORMAT:
        raise GmotError(
            f"{path}: not a readable graph (found {found}, expected {_FORMAT}). "
            "Make it again (local/compile_graphs.py)."
        )
    for kind, table in (("tokens", tokens), ("words", words)):
        expected = table.fingerprint if table else None
        if state[kind] != expected:
            raise GmotError(
                f"{path}: made of other {kind} ({state[kind]}, the lang folder has {expected}). "
                "Make the graphs again from this lang folder (local/compile_graphs.py)."
            )
    graph = k2.Fsa(state["arcs"])
    aux, splits = state["aux_labels"], state["aux_row_splits"]
    if splits is not None:
        shape = k2.ragged.create_ragged_shape2(row_splits=splits, cached_tot_size=aux.numel())
        aux = k2.RaggedTensor(shape, aux)
    if aux is not None:
        graph.aux_labels = aux
    return graph.to(device)
