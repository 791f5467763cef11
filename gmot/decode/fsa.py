"""Operations on FSAs that k2 does not have. Needs k2."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gmot.decode.k2_import import import_k2


def num_arcs(fsas: Any) -> list[int]:
    """Number of arcs of each FSA."""
    row_splits = fsas.arcs.shape().remove_axis(1).row_splits(1).cpu()
    return row_splits.diff().tolist()


def separate(fsas: Any) -> Iterator[Any]:
    """FSAs of a vector as vectors of one FSA."""
    for i in range(fsas.shape[0]):
        index = torch.tensor([i], dtype=torch.int32, device=fsas.device)
        yield import_k2().index_fsa(fsas, index)


def grouped(fsas: Any, max_arcs: int) -> Iterator[Any]:
    """FSAs of a vector, in their order, as vectors of at most ``max_arcs`` arcs, or of one FSA."""
    groups: list[list[int]] = []
    total = 0
    for i, arcs in enumerate(num_arcs(fsas)):
        if not groups or total + arcs > max_arcs:
            groups.append([])
            total = 0
        groups[-1].append(i)
        total += arcs
    for group in groups:
        index = torch.tensor(group, dtype=torch.int32, device=fsas.device)
        yield import_k2().index_fsa(fsas, index)


def make_fsa(arcs: Tensor, scores: Tensor) -> Any:
    """k2.Fsa from (source, destination, label, aux label) arcs; the last state is final."""
    order = torch.sort(arcs[:, 0], stable=True).indices
    arcs, scores = arcs[order].int(), scores[order].float()
    packed = torch.cat([arcs[:, :3], scores.view(torch.int32)[:, None]], dim=1)
    return import_k2().Fsa(packed.contiguous(), aux_labels=arcs[:, 3].contiguous())


def ranges(begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """(index of the range, number) for all numbers of the ranges [begin, end)."""
    sizes = end - begin
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
    rank = torch.arange(len(owner), device=sizes.device) - (sizes.cumsum(0) - sizes)[owner]
    return owner, begin[owner] + rank


def input_labels(fsas: Any) -> list[list[int]]:
    """Input labels of linear FSAs."""
    shape = fsas.arcs.shape().remove_axis(1)
    return import_k2().RaggedTensor(shape, fsas.labels.contiguous()).remove_values_leq(0).tolist()


def arc_sums(fsas: Any, values: Tensor) -> list[float]:
    """Sums of per-arc values over each FSA."""
    counts = torch.tensor(num_arcs(fsas))
    owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
    result = torch.zeros(len(counts), dtype=torch.float64)
    return result.index_add_(0, owners, values.detach().double().cpu()).tolist()
