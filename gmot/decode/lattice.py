"""Lattices: searched out of a graph, and what is read off them. Needs k2.

A lattice is the part of (graph x log-probabilities) that survived the beams.
Scores are natural logarithms. What the graph's language model gives is kept
apart from what the acoustic model gives, so that both can be weighed anew.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from gmot.common import GmotError
from gmot.decode.k2_import import import_k2


class Path(NamedTuple):
    """A sequence of output labels with the scores of its best alignment.

    Attributes:
      labels: outputs of the graph: words of HLG, tokens of H.
      acoustic: of the acoustic model.
      graph: of the graph's language model, unscaled.
      lm: of the language model that rescored, where one did.
    """

    labels: Tuple[int, ...]
    acoustic: float
    graph: float
    lm: float = 0.0


def weigh(graph: Any, scale: float) -> Any:
    """Weigh a graph's own scores against the acoustic model's.

    Args:
      graph: k2.Fsa; its scores are changed, and kept unscaled in ``lm_scores``.
      scale: icefall's ``--hlg-scale``.
    Returns:
      The graph.
    """
    if not hasattr(graph, "lm_scores"):
        graph.lm_scores = graph.scores.clone()
    graph.scores = graph.lm_scores * scale
    return graph


@dataclass
class Lattices:
    """The lattices of a batch.

    Attributes:
      fsa: k2.Fsa (FsaVec), one a searched utterance.
      rows: the utterance of each of them in the batch.
      num_utterances: of the batch; those without frames are not searched.
    """

    fsa: Optional[Any]
    rows: List[int]
    num_utterances: int

    def one_best(self) -> List[Optional[List[int]]]:
        """Output labels of the best path of each utterance.

        Returns:
          None where no path of the graph survived; [] for an utterance without frames.
        """
        results: List[Optional[List[int]]] = [[] for _ in range(self.num_utterances)]
        if self.fsa is None:
            return results
        best = import_k2().shortest_path(self.fsa, use_double_scores=True)
        for row, arcs, labels in zip(self.rows, _num_arcs(best), _outputs(best)):
            results[row] = labels if arcs else None
        return results

    def nbest(self, num_paths: int = 100, nbest_scale: float = 0.5) -> List[List[Path]]:
        """Different outputs of each utterance, the best path's first.

        The others are sampled: ``num_paths - 1`` paths, from which repeated
        outputs are dropped. Each output has the scores of its best alignment.

        Args:
          num_paths: 1: the best path alone.
          nbest_scale: the smaller, the more different the samples are.
        Returns:
          For each utterance its paths; none where no path of the graph survived.
        """
        results: List[List[Path]] = [[] for _ in range(self.num_utterances)]
        for row in set(range(self.num_utterances)) - set(self.rows):
            results[row] = [Path((), 0.0, 0.0)]
        if self.fsa is None:
            return results
        best = self.one_best()
        sampled = self._sample(num_paths - 1, nbest_scale) if num_paths > 1 else [[]] * len(best)
        owners: List[int] = []
        outputs: List[List[int]] = []
        for position, row in enumerate(self.rows):
            first = best[row]
            if first is None:
                continue
            different = dict.fromkeys([tuple(first), *map(tuple, sampled[position])])
            owners += [position] * len(different)
            outputs += map(list, different)
        for owner, path in zip(owners, self._align(owners, outputs)):
            results[self.rows[owner]].append(path)
        return results

    def _sample(self, num_paths: int, scale: float) -> List[List[List[int]]]:
        """Outputs of sampled paths, by lattice."""
        k2 = import_k2()
        scores = self.fsa.scores.clone()  # k2's setter writes in place
        self.fsa.scores = scores * scale
        paths = k2.random_paths(self.fsa, use_double_scores=True, num_paths=num_paths)
        self.fsa.scores = scores
        aux = self.fsa.aux_labels
        if isinstance(aux, Tensor):
            outputs = k2.ragged.index(aux, paths)
        else:
            outputs = aux.index(paths).remove_axis(2)
        return outputs.remove_values_leq(0).tolist()

    def _align(self, owners: List[int], outputs: List[List[int]]) -> List[Path]:
        """The best alignment of each output in the lattice that it is of."""
        k2 = import_k2()
        if not owners:
            return []
        device = self.fsa.device
        wanted = k2.add_epsilon_self_loops(k2.linear_fsa(outputs, device=device))
        inverted = k2.arc_sort(k2.invert(self.fsa))
        owner_map = torch.tensor(owners, dtype=torch.int32, device=device)
        aligned = k2.intersect_device(inverted, wanted, owner_map, sorted_match_a=True)
        best = k2.shortest_path(k2.top_sort(k2.connect(aligned)), use_double_scores=True)
        totals = _sums(best, best.scores)
        graph = _sums(best, best.lm_scores)
        weighted = _sums(best, best.graph_scores)
        return [
            Path(tuple(labels), total - w, g)
            for labels, total, w, g in zip(outputs, totals, weighted, graph)
        ]

    def rescore(self, grammar: Any, weightings: Sequence[Mapping[str, float]]) -> List[List[Path]]:
        """The best paths of each whole lattice with another language model in it.

        Args:
          grammar: :func:`rescoring_grammar`'s.
          weightings: weights of the scores ``graph`` and ``lm``; one that is not
            named weighs nothing. There is a best path for each of them.
        Returns:
          For each utterance the best paths, without repeats; none where no path
          survived.
        """
        k2 = import_k2()
        results: List[List[Path]] = [[] for _ in range(self.num_utterances)]
        for row in set(range(self.num_utterances)) - set(self.rows):
            results[row] = [Path((), 0.0, 0.0)]
        if self.fsa is None:
            return results
        first = self.fsa.clone()
        first.scores = first.scores - first.graph_scores
        first.graph_lm = first.lm_scores.clone()
        del first.lm_scores, first.graph_scores
        # Loops let a word of one frame be followed by another without a frame between them in
        # which the grammar could back off.
        inverted = k2.add_epsilon_self_loops(k2.invert(first))
        to_grammar = torch.zeros(inverted.shape[0], dtype=torch.int32, device=inverted.device)
        lattice = k2.intersect_device(grammar, inverted, to_grammar, sorted_match_a=True)
        lattice = k2.top_sort(k2.connect(k2.remove_epsilon_self_loops(k2.connect(lattice))))
        lattice.acoustic = lattice.scores - lattice.lm_scores
        found: List[Dict[Tuple[int, ...], Path]] = [{} for _ in self.rows]
        for weights in weightings:
            lattice.scores = (
                lattice.acoustic
                + weights.get("graph", 0.0) * lattice.graph_lm
                + weights.get("lm", 0.0) * lattice.lm_scores
            )
            best = k2.shortest_path(lattice, use_double_scores=True)
            columns = (best.acoustic, best.graph_lm, best.lm_scores)
            scores = zip(*(_sums(best, column) for column in columns))
            for paths, arcs, labels, of_path in zip(found, _num_arcs(best), _labels(best), scores):
                if arcs:
                    paths.setdefault(tuple(labels), Path(tuple(labels), *of_path))
        for row, paths in zip(self.rows, found):
            results[row] = list(paths.values())
        return results


def search(
    log_probs: Tensor,
    lens: Tensor,
    graph: Any,
    search_beam: float = 20.0,
    output_beam: float = 8.0,
    min_active_states: int = 30,
    max_active_states: int = 10000,
) -> Lattices:
    """Search a graph.

    Args:
      log_probs: (N, T, C), float32.
      lens: (N,), frames of each utterance.
      graph: H or HLG, on the device of ``log_probs``, weighed by :func:`weigh`
        where n-best lists or other language models are wanted.
      search_beam, output_beam, min_active_states, max_active_states: see
        ``k2.intersect_dense_pruned``.
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
    lens = lens.cpu()
    order = torch.sort(lens, descending=True, stable=True).indices  # k2 wants the longest first
    order = order[lens[order] > 0]  # k2 1.23.4 refuses utterances without frames
    if not len(order):
        return Lattices(None, [], len(lens))
    if hasattr(graph, "lm_scores"):
        graph.graph_scores = graph.scores.clone()  # what of a lattice's scores is the graph's
    fsa = k2.get_lattice(
        log_prob=log_probs.float()[order.to(log_probs.device)].contiguous(),
        log_prob_len=lens[order],
        decoding_graph=graph,
        search_beam=search_beam,
        output_beam=output_beam,
        min_active_states=min_active_states,
        max_active_states=max_active_states,
    )
    return Lattices(fsa, order.tolist(), len(lens))


def score_labels(grammar: Any, sequences: Sequence[Sequence[int]]) -> List[float]:
    """The score of each sequence of words under a language model.

    Args:
      grammar: of :func:`gmot.decode.graphs.compile_g`, with :func:`epsilon_back_off`.
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
      grammar: of :func:`gmot.decode.graphs.compile_g`.
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
    """A grammar for :meth:`Lattices.rescore`.

    Args:
      grammar: of :func:`epsilon_back_off`.
    """
    k2 = import_k2()
    looped = k2.arc_sort(k2.add_epsilon_self_loops(grammar))
    looped.lm_scores = looped.scores.clone()
    return looped


def _num_arcs(fsas: Any) -> List[int]:
    splits = fsas.arcs.shape().remove_axis(1).row_splits(1).cpu()
    return (splits[1:] - splits[:-1]).tolist()


def _outputs(fsas: Any) -> List[List[int]]:
    """The output labels of linear FSAs."""
    return import_k2().get_aux_labels(fsas)


def _labels(fsas: Any) -> List[List[int]]:
    """The input labels of linear FSAs."""
    shape = fsas.arcs.shape().remove_axis(1)
    return import_k2().RaggedTensor(shape, fsas.labels.contiguous()).remove_values_leq(0).tolist()


def _sums(fsas: Any, values: Tensor) -> List[float]:
    """Sums of values of arcs, by FSA."""
    counts = torch.tensor(_num_arcs(fsas))
    owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
    sums = torch.zeros(len(counts), dtype=torch.float64)
    return sums.index_add_(0, owners, values.detach().double().cpu()).tolist()
