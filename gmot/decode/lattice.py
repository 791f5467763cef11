"""Searching k2's graphs: lattices and what is read off them. Needs k2."""

from typing import Any, List, Optional

import torch
from torch import Tensor

from gmot.common import GmotError
from gmot.decode.k2_import import import_k2


def one_best(
    log_probs: Tensor,
    lens: Tensor,
    graph: Any,
    search_beam: float = 20.0,
    output_beam: float = 8.0,
    min_active_states: int = 30,
    max_active_states: int = 10000,
) -> List[Optional[List[int]]]:
    """The output of the best path of each utterance through a graph.

    Args:
      log_probs: (N, T, C), float32.
      lens: (N,), frames of each utterance.
      graph: H or HLG, on the device of ``log_probs``.
      search_beam, output_beam, min_active_states, max_active_states: see
        ``k2.intersect_dense_pruned``.
    Returns:
      Output labels of each utterance: tokens of H, words of HLG. None where
      no path of the graph survived. An utterance without frames gives [].
    Raises:
      GmotError: the graph has labels that the model does not output.
    """
    k2 = import_k2()
    highest = int(graph.labels.max())
    if highest >= log_probs.size(-1):
        # k2 1.23.4 would read out of bounds.
        raise GmotError(
            f"decoding graph: label {highest}, but the model has {log_probs.size(-1)} outputs. "
            "Use the graphs and the lang folder that the model was trained with."
        )
    results: List[Optional[List[int]]] = [[] for _ in range(len(lens))]
    lens = lens.cpu()
    order = torch.sort(lens, descending=True, stable=True).indices  # k2 wants the longest first
    order = order[lens[order] > 0]  # k2 1.23.4 refuses utterances without frames
    if not len(order):
        return results
    lattice = k2.get_lattice(
        log_prob=log_probs.float()[order.to(log_probs.device)].contiguous(),
        log_prob_len=lens[order],
        decoding_graph=graph,
        search_beam=search_beam,
        output_beam=output_beam,
        min_active_states=min_active_states,
        max_active_states=max_active_states,
    )
    best = k2.one_best_decoding(lattice)
    arcs = best.arcs.shape().remove_axis(1).row_splits(1).cpu()
    for position, (index, labels) in enumerate(zip(order.tolist(), k2.get_aux_labels(best))):
        results[index] = labels if arcs[position + 1] > arcs[position] else None
    return results
