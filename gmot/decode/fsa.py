"""Reading linear FSAs. Needs k2."""

from typing import Any, List

import torch
from torch import Tensor

from gmot.decode.k2_import import import_k2


def num_arcs(fsas: Any) -> List[int]:
    splits = fsas.arcs.shape().remove_axis(1).row_splits(1).cpu()
    return (splits[1:] - splits[:-1]).tolist()


def output_labels(fsas: Any) -> List[List[int]]:
    """The output labels of linear FSAs."""
    return import_k2().get_aux_labels(fsas)


def labels(fsas: Any) -> List[List[int]]:
    """The input labels of linear FSAs."""
    shape = fsas.arcs.shape().remove_axis(1)
    return import_k2().RaggedTensor(shape, fsas.labels.contiguous()).remove_values_leq(0).tolist()


def sums(fsas: Any, values: Tensor) -> List[float]:
    """Sums of values of arcs, by FSA."""
    counts = torch.tensor(num_arcs(fsas))
    owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
    result = torch.zeros(len(counts), dtype=torch.float64)
    return result.index_add_(0, owners, values.detach().double().cpu()).tolist()
