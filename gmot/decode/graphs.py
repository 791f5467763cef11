"""The decoding graphs H, HLG and G: compiled, written, read. Needs k2."""

import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike, atomic_path, require_file
from gmot.decode.k2_import import import_k2
from gmot.text.lexicon import Lexicon
from gmot.text.ngram import read_arpa
from gmot.text.tokens import BLANK, TokenTable, WordTable

BACK_OFF = "#0"
MAX_H_TOKENS = 10000
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


def compile_hlg(lexicon: Lexicon, tokens: TokenTable, words: WordTable, arpa: PathLike) -> Any:
    """Compose topology, lexicon and language model.

    Args:
      lexicon: spelled in ``tokens``, its words in ``words``.
      tokens: outputs of the model.
      words: must have every word of the language model.
      arpa: an ARPA file; its probabilities become natural logarithms.
    Returns:
      k2.Fsa with words as ragged ``aux_labels``, sorted by arcs.
    Raises:
      GmotError: the parts do not fit each other, the ARPA file is missing or
        broken, or no k2.
    """
    k2 = import_k2()
    first_disambig = len(tokens)
    lexicon_fst = k2.arc_sort(_lexicon_fst(lexicon, tokens, words))
    grammar = compile_g(words, arpa)
    back_off = grammar.labels == words.ids[BACK_OFF]
    grammar.aux_labels = grammar.labels.masked_fill(back_off, 0)
    lg = k2.connect(k2.compose(lexicon_fst, grammar))
    if lg.num_arcs == 0:
        raise GmotError(f"{arpa}: lexicon and language model share no sentence.")
    lg = k2.connect(k2.determinize(lg))
    # In-place edits of labels leave k2's cached properties stale: edit a copy.
    labels = lg.labels.clone()
    labels[labels >= first_disambig] = 0
    lg.labels = labels
    lg = k2.connect(k2.remove_epsilon(lg))
    if not isinstance(lg.aux_labels, Tensor):  # it is one if nothing had to be removed
        lg.aux_labels = lg.aux_labels.remove_values_eq(0)
    lg = k2.arc_sort(lg)
    hlg = k2.compose(compile_h(len(tokens)), lg, inner_labels="tokens")
    return k2.arc_sort(k2.connect(hlg))


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
    lacking = sorted(w for (w,) in model.tables[0] if w not in words)
    if lacking:
        raise GmotError(
            f"{arpa}: {len(lacking)} words of the language model are not in words.txt: "
            f"{lacking[:5]}. Make the model from this lang folder (local/make_ngram.py)."
        )
    del model
    with tempfile.TemporaryDirectory() as folder:
        symbols = Path(folder) / "words.txt"
        words.save(symbols)
        text = kaldilm.arpa2fst(str(arpa), disambig_symbol=BACK_OFF, read_symbol_table=str(symbols))
    graph = k2.Fsa.from_openfst(text, acceptor=False)
    return k2.arc_sort(k2.Fsa(graph.arcs))


def _lexicon_fst(lexicon: Lexicon, tokens: TokenTable, words: WordTable) -> Any:
    """Pieces in, words out, with the disambiguation symbols that make it determinizable."""
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
    return _fst(arcs)


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


def _fst(arcs: List[Tuple[int, int, int, int]]) -> Any:
    """k2.Fsa of (source, destination, label, aux label) arcs without scores; the last state is
    final."""
    table = torch.tensor(arcs, dtype=torch.int32)
    table = table[torch.sort(table[:, 0], stable=True).indices]
    without_scores = torch.zeros_like(table[:, :1])
    packed = torch.cat([table[:, :3], without_scores], dim=1)
    return import_k2().Fsa(packed.contiguous(), aux_labels=table[:, 3].contiguous())


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
