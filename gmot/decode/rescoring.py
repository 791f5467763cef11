"""Another language model for lattices and n-best lists. Needs k2."""

from typing import Any, Dict, List, Mapping, Sequence, Tuple

import torch

from gmot.decode.fsa import labels, num_arcs, sums
from gmot.decode.k2_import import import_k2
from gmot.decode.lattice import Lattices, Path


def rescore(
    lattices: Lattices, grammar: Any, weightings: Sequence[Mapping[str, float]]
) -> List[List[Path]]:
    """The best paths of each whole lattice with another language model in it.

    Args:
      lattices: of HLG.
      grammar: :func:`rescoring_grammar`'s.
      weightings: weights of the scores ``graph`` and ``lm``; one that is not
        named weighs nothing. There is a best path for each of them.
    Returns:
      For each utterance the best paths, without repeats; none where no path
      survived.
    """
    k2 = import_k2()
    if lattices.fsa is None:
        return lattices.by_utterance([])
    first = lattices.fsa.clone()
    first.scores = first.scores - first.graph_scores
    first.graph_lm = first.lm_scores.clone()
    del first.lm_scores, first.graph_scores
    # Loops let a word of one frame be followed by another without a frame between them in
    # which the grammar could back off.
    inverted = k2.add_epsilon_self_loops(k2.invert(first))
    to_grammar = torch.zeros(inverted.shape[0], dtype=torch.int32, device=inverted.device)
    lattice = k2.intersect_device(grammar, inverted, to_grammar, sorted_match_a=True)
    lattice = k2.connect(k2.remove_epsilon_self_loops(k2.connect(lattice)))
    if lattice.num_arcs == 0:  # no lattice has a path that the grammar accepts
        return lattices.by_utterance([[] for _ in lattices.rows])
    lattice = k2.top_sort(lattice)
    lattice.acoustic = lattice.scores - lattice.lm_scores
    found: List[Dict[Tuple[int, ...], Path]] = [{} for _ in lattices.rows]
    for weights in weightings:
        lattice.scores = (
            lattice.acoustic
            + weights.get("graph", 0.0) * lattice.graph_lm
            + weights.get("lm", 0.0) * lattice.lm_scores
        )
        best = k2.shortest_path(lattice, use_double_scores=True)
        columns = (best.acoustic, best.graph_lm, best.lm_scores)
        scores = zip(*(sums(best, column) for column in columns))
        for paths, arcs, ids, of_path in zip(found, num_arcs(best), labels(best), scores):
            if arcs:
                paths.setdefault(tuple(ids), Path(tuple(ids), *of_path))
    return lattices.by_utterance([list(paths.values()) for paths in found])


def score_labels(grammar: Any, sequences: Sequence[Sequence[int]]) -> List[float]:
    """The score of each sequence of words under a language model.

    Args:
      grammar: of :func:`gmot.decode.grammar.compile_g`, with :func:`epsilon_back_off`.
      sequences: word ids.
    Returns:
      Natural logarithms; -inf where the grammar does not accept the words.
    """
    k2 = import_k2()
    if not sequences:
        return []
    words = k2.add_epsilon_self_loops(
        k2.linear_fsa([list(s) for s in sequences], device=grammar.device)
    )
    zeros = torch.zeros(len(sequences), dtype=torch.int32, device=grammar.device)
    both = k2.intersect_device(grammar, words, zeros, sorted_match_a=True)
    both = k2.top_sort(k2.connect(both))
    return both.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()


def epsilon_back_off(grammar: Any, back_off: int) -> Any:
    """A grammar that backs off without reading anything, for :func:`score_labels`.

    Args:
      grammar: of :func:`gmot.decode.grammar.compile_g`.
      back_off: the label of its back-off arcs.
    """
    k2 = import_k2()
    labels = grammar.labels.clone()
    labels[labels == back_off] = 0
    free = k2.Fsa(
        torch.cat(
            [grammar.arcs.values()[:, :2], labels[:, None], grammar.arcs.values()[:, 3:]], dim=1
        ).contiguous()
    )
    return k2.create_fsa_vec([k2.arc_sort(free)])


def rescoring_grammar(grammar: Any) -> Any:
    """A grammar for :func:`rescore`.

    Args:
      grammar: of :func:`epsilon_back_off`.
    """
    k2 = import_k2()
    looped = k2.arc_sort(k2.add_epsilon_self_loops(grammar))
    looped.lm_scores = looped.scores.clone()
    return looped
