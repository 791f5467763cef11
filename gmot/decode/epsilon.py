"""Epsilon removal that keeps all homophones of a graph with a back-off LM. Needs k2."""

from typing import Any

import torch
from torch import Tensor

from gmot.decode.fsa import make_fsa, ranges
from gmot.decode.k2_import import import_k2

Arcs = tuple[Tensor, Tensor]  # (arcs, 4) int64: source, destination, label, aux label; scores


def remove_epsilon_backward(graph: Any) -> Any:
    """Remove epsilon arcs by repeating the arcs before them.

    ``k2.remove_epsilon`` keeps one sequence of epsilons between two states. In a determinized LG
    the words of homophones are on such epsilons (the disambiguation symbols); if both words back
    off to the same history, it drops the less probable one. That is harmless for the best path
    but not for n-best lists that another LM rescores. Here an arc into a state is repeated for
    each sequence of epsilons that leaves the state. Paths, labels and scores are kept, and the
    graph is as small as that of k2.

    Args:
      graph: one k2.Fsa; label 0 is epsilon, without cycles. An arc together with the epsilons
        after it has at most one non-zero label in ``aux_labels`` (a tensor, or ragged).
    Returns:
      k2.Fsa without epsilons, connected; ``aux_labels`` is a tensor.
    """
    values = graph.arcs.values()
    arcs = torch.cat([values[:, :3].long(), _single(graph.aux_labels)[:, None]], dim=1)
    scores = graph.scores.detach()
    is_epsilon = arcs[:, 2] == 0
    epsilons = arcs[is_epsilon], scores[is_epsilon]
    arcs, scores = arcs[~is_epsilon], scores[~is_epsilon]
    # Epsilons are sorted by source: those of state s are first[s], ..., first[s + 1] - 1.
    first = torch.searchsorted(epsilons[0][:, 0].contiguous(), torch.arange(graph.shape[0] + 1))

    # No arc enters the start state: it gets the arcs of the states it reaches by epsilons.
    start = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1)
    for reached, score in _with_epsilons(start, epsilons, first)[1:]:
        for state, extra in zip(reached[:, 1], score):
            own = arcs[:, 0] == state
            copies = arcs[own]
            copies[:, 0] = 0
            arcs, scores = torch.cat([arcs, copies]), torch.cat([scores, scores[own] + extra])
    repeated = _with_epsilons((arcs, scores), epsilons, first)
    return import_k2().connect(make_fsa(*map(torch.cat, zip(*repeated))))


def _with_epsilons(arcs: Arcs, epsilons: Arcs, first: Tensor) -> list[Arcs]:
    """The arcs followed by no epsilon, by one, by two, and so on."""
    result = []
    while len(arcs[0]):
        result.append(arcs)
        target = arcs[0][:, 1]
        before, after = ranges(first[target], first[target + 1])
        longer, epsilon = arcs[0][before], epsilons[0][after]
        assert not (longer[:, 3] * epsilon[:, 3]).any(), "a path of epsilons has two words"
        longer[:, 1] = epsilon[:, 1]
        longer[:, 3] += epsilon[:, 3]
        arcs = longer, arcs[1][before] + epsilons[1][after]
    return result


def _single(aux: Any) -> Tensor:
    """The non-zero output label of each arc, or 0."""
    if isinstance(aux, Tensor):
        return aux.long()
    aux = aux.remove_values_eq(0)
    sizes = aux.shape.row_splits(1).long().diff()
    assert not (sizes > 1).any(), "an arc has two words"
    result = torch.zeros_like(sizes)
    result[sizes == 1] = aux.values.long()
    return result
