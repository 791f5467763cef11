"""The decoding graphs H and HLG: compiled, written, read. Needs k2."""

import logging
import time
from typing import Any, Optional

import torch

from gmot.common import GmotError, PathLike, atomic_path, fingerprint, require_file
from gmot.decode.epsilon import remove_epsilon_backward
from gmot.decode.grammar import compile_g
from gmot.decode.k2_import import import_k2
from gmot.decode.lexicon_fst import BACK_OFF, compile_l
from gmot.decode.topology import TOPOLOGIES, Plan, expand, token_loop
from gmot.text.lexicon import Lexicon
from gmot.text.tokens import TokenTable, WordTable

MAX_ARCS = 200_000_000  # about 17 GB of memory while HLG is made
_BYTES_PER_ARC = 85  # of memory while a graph is made
_FORMAT = "gmot-graph-2"


def compile_h(num_tokens: int, topology: str = TOPOLOGIES[0], max_arcs: int = MAX_ARCS) -> Any:
    """CTC topology: frames in, tokens out.

    Args:
      num_tokens: outputs of the model, blank included.
      topology: one of :data:`gmot.decode.topology.TOPOLOGIES`.
      max_arcs: limit, checked before the graph is made.
    Returns:
      k2.Fsa with tokens as ``aux_labels``.
    Raises:
      GmotError: unknown topology, too many arcs, or no k2.
    """
    loop = token_loop(num_tokens)
    plan = Plan(loop, topology)
    _guard(
        f"H of {num_tokens} tokens",
        plan.num_arcs,
        max_arcs,
        "Give another --topology, or make tokens from the training text alone "
        "(local/prepare_lang.py)",
    )
    return expand(plan, loop, num_tokens)


def compile_hlg(
    lexicon: Lexicon,
    tokens: TokenTable,
    words: WordTable,
    arpa: PathLike,
    topology: str = TOPOLOGIES[0],
    max_arcs: int = MAX_ARCS,
) -> Any:
    """Compose topology, lexicon and language model; log the size of each step.

    Args:
      lexicon: spelled in ``tokens``, its words in ``words``.
      tokens: outputs of the model.
      words: must have every word of the language model.
      arpa: an ARPA file; its probabilities become natural logarithms.
      topology: one of :data:`gmot.decode.topology.TOPOLOGIES`.
      max_arcs: limit, checked before each composition. Making a graph takes about 85 bytes of
        memory per arc, the file 20.
    Returns:
      k2.Fsa with words as ``aux_labels``, sorted by arcs.
    Raises:
      GmotError: the parts do not fit each other, the ARPA file is missing or
        broken, unknown topology, too many arcs, or no k2.
    """
    lg = compile_lg(lexicon, tokens, words, arpa, max_arcs)
    clock = _Clock()
    plan = Plan(lg, topology)
    _guard(f"{arpa}: HLG", plan.num_arcs, max_arcs, f"Give another --topology, or {_PRUNE}")
    hlg = expand(plan, lg, len(tokens))
    clock.log(f"HLG, {topology} topology", hlg)
    return hlg


def compile_lg(
    lexicon: Lexicon,
    tokens: TokenTable,
    words: WordTable,
    arpa: PathLike,
    max_arcs: int = MAX_ARCS,
) -> Any:
    """Compose lexicon and language model, determinized and without epsilons.

    Args and errors: as of :func:`compile_hlg`.

    Returns:
      k2.Fsa, tokens in and words out.
    """
    k2 = import_k2()
    clock = _Clock()
    lexicon_fst = k2.arc_sort(compile_l(lexicon, tokens, words))
    clock.log("L", lexicon_fst, f"{len(lexicon)} words")
    grammar = compile_g(words, arpa)
    clock.log("G", grammar)
    _guard(f"{arpa}: LG", _lg_arcs(grammar, lexicon, words), max_arcs, _PRUNE.capitalize())
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
    return lg


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


_PRUNE = (
    "prune the language model of HLG (local/make_ngram.py --max-ngrams or --prune): rescoring with "
    "the unpruned one recovers what is lost"
)


def _guard(what: str, num_arcs: int, max_arcs: int, remedy: str) -> None:
    memory = num_arcs * _BYTES_PER_ARC * 1e-9
    logging.info("%s: up to %s arcs, %.1f GB to make it", what, f"{num_arcs:,}", memory)
    if num_arcs > max_arcs:
        raise GmotError(
            f"{what} would have {num_arcs:,} arcs, at most {max_arcs:,} are allowed (about "
            f"{memory:.0f} GB of memory to make it). {remedy}. Or, where memory allows, raise "
            "--max-arcs."
        )


def save_graph(
    path: PathLike,
    graph: Any,
    tokens: Optional[TokenTable],
    words: Optional[WordTable] = None,
    topology: Optional[str] = None,
) -> None:
    """Write a graph as plain tensors, atomically.

    Args:
      path: any ``torch.load`` can read it, with ``weights_only`` too.
      graph: k2.Fsa; H and HLG have a tensor ``aux_labels``, G has none.
      tokens: of its labels, None for G; their fingerprint is checked on loading.
      words: of its output (of the labels of G), where there are words in it.
      topology: of H and HLG, for the records of results.
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
      words: None for H, which has no words.
      device: of the graph.
    Returns:
      k2.Fsa with the attributes ``topology`` and ``fingerprint`` (of its arcs), which
      :func:`save_graph` recorded.
    Raises:
      GmotError: missing, broken, of other tokens or words, labels out of range, or no k2.
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
    arcs, aux = state["arcs"], state["aux_labels"]
    # k2 reads at states and labels without a check of bounds.
    if (
        len(arcs)
        and not 0 <= int(arcs[:, 1].min()) <= int(arcs[:, 1].max()) <= int(arcs[-1, 0]) + 1
    ):
        raise GmotError(
            f"{path}: states that do not exist. Make it again (local/compile_graphs.py)."
        )
    _check_labels(path, "label", arcs[:, 2], tokens, words)
    if aux is not None:
        _check_labels(path, "output label", aux, None if words else tokens, words)
    graph = k2.Fsa(arcs)
    if aux is not None:
        graph.aux_labels = aux
    if state["emits"] is not None:
        graph.emits = state["emits"].int()
    graph.topology, graph.fingerprint = state["topology"], state["fingerprint"]
    return graph.to(device)


def _check_labels(
    path: PathLike,
    what: str,
    labels: torch.Tensor,
    tokens: Optional[TokenTable],
    words: Optional[WordTable],
) -> None:
    """Raise GmotError unless all labels are symbols of the table (of tokens, if there are any)."""
    symbols = len(tokens) if tokens else len(words or [])
    lowest, highest = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if lowest < -1 or highest >= symbols:
        raise GmotError(
            f"{path}: {what}s from {lowest} to {highest}, but there are {symbols} symbols. "
            "Make the graphs again from this lang folder (local/compile_graphs.py)."
        )
