"""CTC topologies: from a graph over tokens to a graph over frames. Needs k2.

The standard topology ("full") requires a blank between equal tokens, so a graph has one copy of
each state per token entering it, with all arcs of the state. A state with V tokens entering and V
arcs leaving (the empty history of an LM, the only state of H) gives V * V arcs: most of the graph
for 4,300 tokens. The modified topology does not; searches of its graphs remove the paths that the
standard topology does not allow (:mod:`gmot.decode.repeats`).
"""

from typing import Any

import torch

from gmot.common import GmotError
from gmot.decode.fsa import make_fsa
from gmot.decode.k2_import import import_k2

TOPOLOGIES = ("modified", "full")  # the first one is the default


def check_topology(topology: str) -> None:
    """Raise GmotError for unknown topologies."""
    if topology not in TOPOLOGIES:
        raise GmotError(f"topology '{topology}': unknown, expected {', '.join(TOPOLOGIES)}.")


def token_loop(num_tokens: int) -> Any:
    """Graph of all token sequences, from which H is expanded: k2.Fsa, ``aux_labels`` as labels."""
    tokens = torch.arange(1, num_tokens)
    loops = torch.stack([0 * tokens, 0 * tokens, tokens, tokens], dim=1)
    arcs = torch.cat([loops, torch.tensor([[0, 1, -1, -1]])])
    return make_fsa(arcs, torch.zeros(len(arcs)))


def expanded_arcs(graph: Any, topology: str) -> int:
    """Upper bound of the number of arcs of :func:`expand`."""
    check_topology(topology)
    num_states, arcs = graph.shape[0], graph.arcs.values().long()
    final = arcs[:, 2] == -1
    arcs, finals = arcs[~final], arcs[final]
    width = int(arcs[:, 2].max()) + 1 if len(arcs) else 1
    entered = torch.unique(arcs[:, 1] * width + arcs[:, 2]) // width  # states, once per token
    loops = 2 * len(entered) + num_states
    if topology == "modified":
        return 2 * len(arcs) + loops + len(finals)
    leaving = torch.bincount(torch.cat([arcs[:, 0], finals[:, 0]]), minlength=num_states)
    return int(leaving.sum() + leaving[entered].sum()) + loops


def expand(graph: Any, topology: str, num_tokens: int) -> Any:
    """Expand a graph over tokens to a graph over frames.

    Args:
      graph: k2.Fsa over tokens without epsilons, with a tensor ``aux_labels``.
      num_tokens: outputs of the model, blank included.
    Returns:
      k2.Fsa, arc-sorted and connected, with a tensor ``aux_labels``; for the modified topology
      also with ``emits``, 1 where an arc begins a token.
    """
    k2 = import_k2()
    graph = k2.Fsa(graph.arcs, aux_labels=graph.aux_labels)
    h = k2.ctc_topo(max_token=num_tokens - 1, modified=topology == "modified")
    expanded = k2.compose(h, k2.arc_sort(graph), inner_labels="tokens")
    if topology == "modified":
        expanded.emits = (expanded.tokens > 0).int()
    del expanded.tokens
    return k2.arc_sort(k2.connect(expanded))
