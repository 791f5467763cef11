"""Rescoring of lattices and n-best lists by another n-gram LM (G). Needs k2."""

from collections.abc import Sequence
from typing import Any

import torch

from gmot.decode.candidates import LmScales
from gmot.decode.fsa import arc_sums, grouped, input_labels, num_arcs
from gmot.decode.k2_import import import_k2
from gmot.decode.lattice import Lattices, Path

# Arcs per composition with G, and per lattice. A state of the lattice is repeated for each history
# of G: 85,000 arcs (units are characters, the model is uncertain) took 4 GB.
MAX_ARCS = 20_000


def rescore(lattices: Lattices, grammar: Any, choices: Sequence[LmScales]) -> list[list[Path]]:
    """Best paths of each lattice, whole-lattice rescored, for several LM scales.

    Args:
      lattices: of HLG, of at most :data:`MAX_ARCS` arcs each.
      grammar: from :func:`rescoring_grammar`.
      choices: scales of the scores ``graph`` and ``lm`` (default 0), with one best path each.
    Returns:
      Distinct best paths per utterance; none without a path in the graph and the grammar.
    """
    found: list[list[Path]] = []
    for fsa in grouped(lattices.fsa, MAX_ARCS) if lattices.fsa is not None else ():
        found += _rescore(fsa, grammar, choices)
    return lattices.by_utterance(found)


def _rescore(fsa: Any, grammar: Any, choices: Sequence[LmScales]) -> list[list[Path]]:
    """Distinct best paths of each lattice of a vector."""
    k2 = import_k2()
    first = fsa.clone()
    first.scores = first.scores - first.graph_scores
    first.graph_lm = first.lm_scores.clone()
    del first.lm_scores, first.graph_scores
    # The loops allow the grammar to back off between words of adjacent frames.
    inverted = k2.add_epsilon_self_loops(k2.invert(first))
    to_grammar = torch.zeros(inverted.shape[0], dtype=torch.int32, device=inverted.device)
    lattice = k2.intersect_device(grammar, inverted, to_grammar, sorted_match_a=True)
    lattice = k2.connect(k2.remove_epsilon_self_loops(k2.connect(lattice)))
    found: list[dict[tuple[int, ...], Path]] = [{} for _ in range(fsa.shape[0])]
    if lattice.num_arcs == 0:  # the grammar accepts no path of any lattice
        return [[] for _ in found]
    lattice = k2.top_sort(lattice)
    lattice.acoustic = lattice.scores - lattice.lm_scores
    for scales in choices:
        graph, lm = scales.get("graph", 0.0), scales.get("lm", 0.0)
        lattice.scores = lattice.acoustic + graph * lattice.graph_lm + lm * lattice.lm_scores
        best = k2.shortest_path(lattice, use_double_scores=True)
        scores = (arc_sums(best, x) for x in (best.acoustic, best.graph_lm, best.lm_scores))
        for paths, arcs, ids, *of_path in zip(found, num_arcs(best), input_labels(best), *scores):
            if arcs:
                paths.setdefault(tuple(ids), Path(tuple(ids), *of_path))
    return [list(paths.values()) for paths in found]


def score_words(grammar: Any, sequences: Sequence[Sequence[int]]) -> list[float]:
    """LM scores of word id sequences by a grammar from :func:`epsilon_back_off`.

    Natural logarithms; -inf for sequences that the grammar does not accept.
    """
    k2 = import_k2()
    if not sequences:
        return []
    words = k2.linear_fsa([list(s) for s in sequences], device=grammar.device)
    words = k2.add_epsilon_self_loops(words)
    zeros = torch.zeros(len(sequences), dtype=torch.int32, device=grammar.device)
    both = k2.intersect_device(grammar, words, zeros, sorted_match_a=True)
    both = k2.top_sort(k2.connect(both))
    return both.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()


def epsilon_back_off(grammar: Any, back_off: int) -> Any:
    """G as a vector of one k2.Fsa, with epsilons on its back-off arcs."""
    k2 = import_k2()
    arcs = grammar.arcs.values().clone()
    arcs[:, 2].masked_fill_(grammar.labels == back_off, 0)
    return k2.create_fsa_vec([k2.arc_sort(k2.Fsa(arcs))])


def rescoring_grammar(grammar: Any) -> Any:
    """G of :func:`epsilon_back_off` with epsilon self-loops, for :func:`rescore`."""
    k2 = import_k2()
    looped = k2.arc_sort(k2.add_epsilon_self_loops(grammar))
    looped.lm_scores = looped.scores.clone()
    return looped
