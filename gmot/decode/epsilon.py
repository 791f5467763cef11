"""Epsilon removal that keeps all homophones of a graph with a back-off LM. Needs k2."""

from typing import Any

import torch
from torch import Tensor

from gmot.decode.k2_import import import_k2
from gmot.decode.repeats import ranges

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
    epsilons = _Epsilons(arcs[is_epsilon], scores[is_epsilon], num_states=graph.shape[0])
    arcs, scores = arcs[~is_epsilon], scores[~is_epsilon]

    # No arc enters the start state: it gets the arcs of the states it reaches by epsilons.
    start = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1)
    for reached, score in epsilons.after(*start)[1:]:
        for state, extra in zip(reached[:, 1], score):
            own = arcs[:, 0] == state
            copies = arcs[own]
            copies[:, 0] = 0
            arcs, scores = torch.cat([arcs, copies]), torch.cat([scores, scores[own] + extra])
    return import_k2().connect(make_fsa(*map(torch.cat, zip(*epsilons.after(arcs, scores)))))


class _Epsilons:
    """Epsilon arcs, sorted by source state."""

    def __init__(self, arcs: Tensor, scores: Tensor, num_states: int):
        self.arcs, self.scores = arcs, scores
        sources = arcs[:, 0].contiguous()
        self.first = torch.searchsorted(sources, torch.arange(num_states + 1))

    def after(self, arcs: Tensor, scores: Tensor) -> list[Arcs]:
        """The arcs followed by no epsilon, by one, by two, and so on."""
        result = []
        while len(arcs):
            result.append((arcs, scores))
            arcs, scores = self._one_more(arcs, scores)
        return result

    def _one_more(self, arcs: Tensor, scores: Tensor) -> Arcs:
        before, after = ranges(self.first[arcs[:, 1]], self.first[arcs[:, 1] + 1])
        arcs, epsilons = arcs[before], self.arcs[after]
        assert not (arcs[:, 3] * epsilons[:, 3]).any(), "a path of epsilons has two words"
        arcs[:, 1] = epsilons[:, 1]
        arcs[:, 3] += epsilons[:, 3]
        return arcs, scores[before] + self.scores[after]


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


def make_fsa(arcs: Tensor, scores: Tensor) -> Any:
    """k2.Fsa from (source, destination, label, aux label) arcs; the last state is final."""
    order = torch.sort(arcs[:, 0], stable=True).indices
    arcs, scores = arcs[order].int(), scores[order].float()
    packed = torch.cat([arcs[:, :3], scores.view(torch.int32)[:, None]], dim=1)
    return import_k2().Fsa(packed.contiguous(), aux_labels=arcs[:, 3].contiguous())
