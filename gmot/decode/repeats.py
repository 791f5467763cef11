"""Lattices of the modified CTC topology, reduced to paths of the standard one. Needs k2."""

from typing import Any

import torch
from torch import Tensor

from gmot.decode.fsa import ranges, separate
from gmot.decode.k2_import import import_k2


def standard_paths(lattices: Any, max_arcs: int) -> tuple[Any, Tensor]:
    """Remove paths with two equal tokens in a row without a blank in between.

    The modified topology allows them, the standard one does not. States are split by the label of
    the preceding frame; all other paths are kept one to one.

    Args:
      lattices: k2.Fsa (FsaVec) with ``emits`` (1 where an arc begins a token), from a graph of the
        modified topology.
      max_arcs: larger lattices are reduced to their best path first.
    Returns:
      k2.Fsa (FsaVec), connected, without ``emits``, possibly with empty lattices; and a bool
      tensor (lattices,), True for those larger than ``max_arcs``.
    """
    k2 = import_k2()
    if lattices.num_arcs <= max_arcs:
        split = _SplitStates(lattices)
        if int(split.sizes.sum()) <= max_arcs:
            return k2.connect(split.fsas()), torch.zeros(len(split.sizes), dtype=torch.bool)
    reduced, large = [], []
    for one in separate(lattices):  # one by one to save memory
        large.append(one.num_arcs > max_arcs or int(_SplitStates(one).sizes) > max_arcs)
        if large[-1]:
            one = k2.shortest_path(one, use_double_scores=True)
        reduced.append(k2.connect(_SplitStates(one).fsas()))
    return k2.cat(reduced), torch.tensor(large)


class _SplitStates:
    """Pairs of a state and the label of the preceding frame.

    Attributes:
      sizes: (lattices,), number of arcs before removal.
    """

    def __init__(self, lattices: Any):
        self.lattices = lattices
        shape = lattices.arcs.shape()
        self.fsa_of_state = shape.row_ids(1).long()
        first_state = shape.row_splits(1).long()
        self.num_fsas = len(first_state) - 1
        arcs = lattices.arcs.values().long()
        self.source = shape.row_ids(2).long()
        self.labels = arcs[:, 2]
        target = arcs[:, 1] + first_state[self.fsa_of_state[self.source]]
        width = int(self.labels.max()) + 2 if len(arcs) else 2
        # Start states count as preceded by a blank.
        starts = first_state[:-1][first_state.diff() > 0]
        self.targets = target * width + self.labels + 1
        self.pairs = torch.unique(torch.cat([self.targets, starts * width + 1]))
        self.states, self.before = self.pairs // width, self.pairs % width - 1
        self.begin = torch.searchsorted(self.states, self.source)
        self.end = torch.searchsorted(self.states, self.source, right=True)
        none = torch.zeros(self.num_fsas, dtype=torch.long, device=arcs.device)
        owner = self.fsa_of_state[self.source]
        self.sizes = none.index_add_(0, owner, self.end - self.begin)

    def fsas(self) -> Any:
        k2 = import_k2()
        arc, pair = ranges(self.begin, self.end)
        repeated = (self.lattices.emits[arc] > 0) & (self.labels[arc] == self.before[pair])
        arc, pair = arc[~repeated], pair[~repeated]
        order = torch.sort(pair, stable=True).indices
        arc, pair = arc[order], pair[order]
        owner = self.fsa_of_state[self.states]
        numbers = torch.arange(self.num_fsas + 1, device=pair.device)
        row_splits = torch.searchsorted(owner, numbers)
        target = torch.searchsorted(self.pairs, self.targets[arc])
        first = row_splits[owner[pair]]
        scores = self.lattices.scores[arc].view(torch.int32)
        values = torch.stack(
            [(pair - first).int(), (target - first).int(), self.labels[arc].int(), scores], dim=1
        )
        every = torch.arange(len(self.pairs) + 1, device=pair.device)
        arc_splits = torch.searchsorted(pair, every)
        shape = _shape(row_splits, len(self.pairs)).compose(_shape(arc_splits, len(pair)))
        fsas = k2.Fsa(type(self.lattices.arcs)(shape, values.contiguous()))
        for name, value in self.lattices.named_tensor_attr(include_scores=False):
            if name not in ("emits", "labels"):
                setattr(fsas, name, value[arc])
        return fsas


def _shape(row_splits: Tensor, size: int) -> Any:
    return import_k2().ragged.create_ragged_shape2(
        row_splits=row_splits.int(), cached_tot_size=size
    )
