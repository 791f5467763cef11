"""Arc counts, labels and score sums of linear FSAs. Needs k2."""

from typing import Any

import torch
from torch import Tensor

from gmot.decode.k2_import import import_k2


def num_arcs(fsas: Any) -> list[int]:
    """Number of arcs of each FSA."""
    row_splits = fsas.arcs.shape().remove_axis(1).row_splits(1).cpu()
    return row_splits.diff().tolist()


def output_labels(fsas: Any) -> list[list[int]]:
    """Output labels of linear FSAs."""
    return import_k2().get_aux_labels(fsas)


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
