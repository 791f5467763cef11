"""Epsilon removal that keeps all homophones of a graph with a back-off language model. Needs k2."""

from typing import Any, List, Tuple

import torch
from torch import Tensor

from gmot.decode.k2_import import import_k2

Arcs = Tuple[Tensor, Tensor]  # (arcs, 4) int64: source, destination, label, aux label; scores


def remove_epsilon_backward(graph: Any) -> Any:
    """Remove the epsilon arcs by what enters them, not by what follows them.

    ``k2.remove_epsilon`` keeps one sequence of epsilons between two states. In a determinized
    graph the words of homophones stand on such epsilons (the disambiguation symbols), and where
    both back off to the same history the less probable one is lost: harmless for the best path,
    but not for an n-best list that another language model is to choose from. Here an arc into a
    state is repeated for each sequence of epsilons that leaves it. The paths are the same, with
    the same labels and scores, and the graph is as small as k2's.

    Args:
      graph: one k2.Fsa; labels of 0 are epsilons and make no cycle. An arc and the epsilons that
        may follow it have one ``aux_labels`` (a tensor, or ragged) that is not 0, or none.
    Returns:
      k2.Fsa without epsilons, connected; ``aux_labels`` is a tensor.
    """
    values = graph.arcs.values()
    arcs = torch.cat([values[:, :3].long(), _single(graph.aux_labels)[:, None]], dim=1)
    scores = graph.scores.detach()
    silent = arcs[:, 2] == 0
    epsilons = _Epsilons(arcs[silent], scores[silent], num_states=graph.shape[0])
    arcs, scores = arcs[~silent], scores[~silent]

    # Nothing enters the start: it gets what leaves the states that it reaches.
    start = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1)
    for reached, score in epsilons.after(*start)[1:]:
        for state, extra in zip(reached[:, 1], score):
            own = arcs[:, 0] == state
            copies = arcs[own]
            copies[:, 0] = 0
            arcs, scores = torch.cat([arcs, copies]), torch.cat([scores, scores[own] + extra])
    return import_k2().connect(make_fsa(*map(torch.cat, zip(*epsilons.after(arcs, scores)))))


class _Epsilons:
    """Epsilon arcs, sorted by their sources as the arcs of a graph are."""

    def __init__(self, arcs: Tensor, scores: Tensor, num_states: int):
        self.arcs, self.scores = arcs, scores
        sources = arcs[:, 0].contiguous()
        self.first = torch.searchsorted(sources, torch.arange(num_states + 1))

    def after(self, arcs: Tensor, scores: Tensor) -> List[Arcs]:
        """The arcs, the arcs with one epsilon after them, with two, and so on."""
        result = []
        while len(arcs):
            result.append((arcs, scores))
            arcs, scores = self._one_more(arcs, scores)
        return result

    def _one_more(self, arcs: Tensor, scores: Tensor) -> Arcs:
        first = self.first[arcs[:, 1]]
        number = self.first[arcs[:, 1] + 1] - first
        before = torch.repeat_interleave(torch.arange(len(arcs)), number)
        rank = torch.arange(len(before)) - (number.cumsum(0) - number)[before]
        after = first[before] + rank
        arcs, epsilons = arcs[before], self.arcs[after]
        assert not (arcs[:, 3] * epsilons[:, 3]).any(), "a path of epsilons has two words"
        arcs[:, 1] = epsilons[:, 1]
        arcs[:, 3] += epsilons[:, 3]
        return arcs, scores[before] + self.scores[after]


def _single(aux: Any) -> Tensor:
    """The one label of each arc that is not 0, or 0."""
    if isinstance(aux, Tensor):
        return aux.long()
    aux = aux.remove_values_eq(0)
    sizes = aux.shape.row_splits(1).long().diff()
    assert not (sizes > 1).any(), "an arc has two words"
    result = torch.zeros_like(sizes)
    result[sizes == 1] = aux.values.long()
    return result


def make_fsa(arcs: Tensor, scores: Tensor) -> Any:
    """k2.Fsa of (source, destination, label, aux label) arcs; the last state is final."""
    order = torch.sort(arcs[:, 0], stable=True).indices
    arcs, scores = arcs[order].int(), scores[order].float()
    packed = torch.cat([arcs[:, :3], scores.view(torch.int32)[:, None]], dim=1)
    return import_k2().Fsa(packed.contiguous(), aux_labels=arcs[:, 3].contiguous())
