"""Compilation and storage of the decoding graphs H and HLG. Needs k2."""

import logging
from typing import Any

import torch

from gmot.common import GmotError, PathLike, fingerprint, require_file, save_tensors
from gmot.decode.epsilon import remove_epsilon_backward
from gmot.decode.grammar import BACK_OFF, compile_g, compile_l
from gmot.decode.k2_import import import_k2
from gmot.decode.topology import TOPOLOGIES, expand, expanded_arcs, token_loop
from gmot.text.lexicon import Lexicon
from gmot.text.tokens import TokenTable, WordTable

MAX_ARCS = 200_000_000  # about 17 GB of memory during compilation
_BYTES_PER_ARC = 85  # memory during compilation
_FORMAT = "gmot-graph-2"
REMEDY = "Compile the graphs from this lang folder (local/compile_graphs.py)."


def compile_h(num_tokens: int, topology: str = TOPOLOGIES[0], max_arcs: int = MAX_ARCS) -> Any:
    """H, the CTC topology from frames to tokens: k2.Fsa with tokens as ``aux_labels``.

    Args:
      num_tokens: outputs of the model, blank included.
      topology: one of :data:`gmot.decode.topology.TOPOLOGIES`.
      max_arcs: limit, checked before compilation.
    Raises:
      GmotError: unknown topology, too many arcs, or no k2.
    """
    loop = token_loop(num_tokens)
    remedy = "Use another --topology, or tokens of the training text only (local/prepare_lang.py)"
    _check_size(f"H of {num_tokens} tokens", expanded_arcs(loop, topology), max_arcs, remedy)
    return expand(loop, topology, num_tokens)


def compile_hlg(
    lexicon: Lexicon,
    tokens: TokenTable,
    words: WordTable,
    arpa: PathLike,
    topology: str = TOPOLOGIES[0],
    max_arcs: int = MAX_ARCS,
) -> Any:
    """HLG: topology, lexicon and LM composed; the size after each step is logged.

    Args:
      lexicon: spellings in ``tokens`` of words in ``words``.
      tokens: outputs of the model.
      words: must contain all words of the LM.
      arpa: ARPA file; probabilities become natural logarithms.
      topology: one of :data:`gmot.decode.topology.TOPOLOGIES`.
      max_arcs: limit, checked before each composition. Compilation takes about 85 bytes of memory
        per arc, the file 20.
    Returns:
      k2.Fsa with words as ``aux_labels``, arc-sorted.
    Raises:
      GmotError: lexicon, tables and LM do not match, the ARPA file is missing or broken, unknown
        topology, too many arcs, or no k2.
    """
    lg = compile_lg(lexicon, tokens, words, arpa, max_arcs)
    remedy = f"Use another --topology, or {_SMALLER_LM}"
    _check_size(f"{arpa}: HLG", expanded_arcs(lg, topology), max_arcs, remedy)
    hlg = expand(lg, topology, len(tokens))
    _log_size(f"HLG, {topology} topology", hlg)
    return hlg


def compile_lg(
    lexicon: Lexicon, tokens: TokenTable, words: WordTable, arpa: PathLike, max_arcs: int = MAX_ARCS
) -> Any:
    """LG: lexicon and LM composed, determinized and without epsilons; k2.Fsa from tokens to words.

    Arguments and errors as for :func:`compile_hlg`.
    """
    k2 = import_k2()
    lexicon_fst = k2.arc_sort(compile_l(lexicon, tokens, words))
    _log_size(f"L of {len(lexicon)} words", lexicon_fst)
    grammar = compile_g(words, arpa)
    _log_size("G", grammar)
    num_arcs = _lg_arcs(grammar, lexicon, words)
    _check_size(f"{arpa}: LG", num_arcs, max_arcs, f"You can {_SMALLER_LM}")
    grammar.aux_labels = grammar.labels.masked_fill(grammar.labels == words.ids[BACK_OFF], 0)
    lg = k2.connect(k2.compose(lexicon_fst, grammar))
    if lg.num_arcs == 0:
        raise GmotError(f"{arpa}: lexicon and LM have no sentence in common.")
    lg = k2.connect(k2.determinize(lg))
    _log_size("LG, determinized", lg)
    # Edited as a copy: in-place edits would not reset k2's cached properties.
    labels = lg.labels.clone()
    labels[labels >= len(tokens)] = 0
    lg.labels = labels
    lg = k2.arc_sort(remove_epsilon_backward(lg))
    _log_size("LG, without epsilons", lg)
    return lg


def _log_size(what: str, graph: Any) -> None:
    logging.info("%s: %s states, %s arcs", what, f"{graph.shape[0]:,}", f"{graph.num_arcs:,}")


def _lg_arcs(grammar: Any, lexicon: Lexicon, words: WordTable) -> int:
    """Upper bound of the number of arcs of L composed with G: each word of G is spelled."""
    lengths = torch.ones(len(words) + 1, dtype=torch.long)  # the last entry is for label -1
    for word, pieces in lexicon.spellings.items():
        lengths[words.ids[word]] = len(pieces) + 1  # with a disambiguation symbol
    return int(lengths[grammar.labels.long()].sum())


_SMALLER_LM = (
    "use an LM of lower order for HLG (local/make_ngram.py --order): rescoring with a higher order "
    "recovers the loss"
)


def _check_size(what: str, num_arcs: int, max_arcs: int, remedy: str) -> None:
    memory = num_arcs * _BYTES_PER_ARC * 1e-9
    logging.info("%s: up to %s arcs, %.1f GB for compilation", what, f"{num_arcs:,}", memory)
    if num_arcs > max_arcs:
        raise GmotError(
            f"{what} would have {num_arcs:,} arcs (about {memory:.0f} GB of memory for "
            f"compilation), at most {max_arcs:,} are allowed. {remedy}. With enough memory, raise "
            "--max-arcs."
        )


def save_graph(
    path: PathLike,
    graph: Any,
    tokens: TokenTable | None,
    words: WordTable | None = None,
    topology: str | None = None,
) -> None:
    """Write a graph as plain tensors, readable with ``torch.load(weights_only=True)``.

    Args:
      graph: k2.Fsa; H and HLG have a tensor ``aux_labels``, G has none.
      tokens: table of the labels, None for G; the fingerprint is checked on loading.
      words: table of the output labels (of the labels of G); None for H.
      topology: of H and HLG, recorded with the results.
    """
    aux = getattr(graph, "aux_labels", None)
    arcs = graph.arcs.values().cpu().clone()  # (arcs, 4) int32, scores as their bits
    aux = None if aux is None else aux.cpu().clone()
    state = {
        "format": _FORMAT,
        "arcs": arcs,
        "aux_labels": aux,
        "emits": graph.emits.bool().cpu() if hasattr(graph, "emits") else None,
        "tokens": tokens.fingerprint if tokens else None,
        "words": words.fingerprint if words else None,
        "topology": topology,
        "fingerprint": fingerprint(arcs, aux),
    }
    save_tensors(path, state)


def load_graph(
    path: PathLike, tokens: TokenTable | None, words: WordTable | None = None, device: Any = "cpu"
) -> Any:
    """Read a graph of :func:`save_graph`.

    Args:
      tokens: outputs of the model; None for G, whose labels are words.
      words: None for H.
    Returns:
      k2.Fsa with the recorded attributes ``topology`` and ``fingerprint`` (of its arcs).
    Raises:
      GmotError: missing, broken, other tokens or words, labels out of range, or no k2.
    """
    k2 = import_k2()
    require_file(path, "Decoding graph", REMEDY)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["format"]
    except Exception as error:  # torch raises many types
        state, found = {}, repr(error)
    if found != _FORMAT:
        raise GmotError(
            f"{path}: not a decoding graph (found {found}, expected {_FORMAT}). {REMEDY}"
        )
    for kind, table in (("tokens", tokens), ("words", words)):
        expected = table.fingerprint if table else None
        if state[kind] != expected:
            raise GmotError(
                f"{path}: compiled for other {kind} (found {state[kind]}, expected {expected} of "
                f"the lang folder). {REMEDY}"
            )
    arcs, aux = state["arcs"], state["aux_labels"]
    # k2 does not check the bounds of states and labels.
    targets = arcs[:, 1]
    if len(arcs) and not 0 <= int(targets.min()) <= int(targets.max()) <= int(arcs[-1, 0]) + 1:
        raise GmotError(f"{path}: states out of range. {REMEDY}")
    _check_labels(path, "label", arcs[:, 2], tokens or words)
    if aux is not None:
        _check_labels(path, "output label", aux, words or tokens)
    graph = k2.Fsa(arcs)
    if aux is not None:
        graph.aux_labels = aux
    if state["emits"] is not None:
        graph.emits = state["emits"].int()
    graph.topology, graph.fingerprint = state["topology"], state["fingerprint"]
    return graph.to(device)


def _check_labels(path: PathLike, what: str, labels: torch.Tensor, table: Any) -> None:
    """Raise GmotError for labels that are not in a table."""
    lowest, highest = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if lowest < -1 or highest >= len(table):
        raise GmotError(
            f"{path}: {what}s from {lowest} to {highest}, expected fewer than {len(table)}. "
            f"{REMEDY}"
        )
