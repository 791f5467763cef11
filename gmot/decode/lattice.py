"""Lattices: searched out of a graph, and what is read off them. Needs k2.

A lattice is the part of (graph x log-probabilities) that survived the beams.
Scores are natural logarithms. What the graph's language model gives is kept
apart from what the acoustic model gives, so that both can be weighed anew.
"""

from dataclasses import dataclass, replace
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from gmot.decode.fsa import num_arcs, output_labels, sums
from gmot.decode.k2_import import import_k2
from gmot.decode.repeats import standard_paths


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


# Arcs that an utterance's lattice may have where more is done with it than to find its best path:
# some thousands are usual, and millions come of log-probabilities that know nothing.
MAX_ARCS = 200_000
# Beyond so many their posteriors are not computed either.
HOPELESS_ARCS = 4_000_000
# Arcs of the lattices that are kept side by side.
BATCH_ARCS = 20_000_000
# Arcs x labels that one call for the alignments of n-best lists may meet.
ALIGN_WORK = 30_000_000


def weigh(graph: Any, scale: float) -> Any:
    """Weigh a graph's own scores against the acoustic model's.

    Args:
      graph: k2.Fsa; its scores are changed, and kept as they were in ``lm_scores``.
      scale: icefall's ``--hlg-scale``.
    Returns:
      The graph.
    """
    if not hasattr(graph, "lm_scores"):
        graph.lm_scores = graph.scores.clone()
    graph.scores = graph.lm_scores * scale
    graph.graph_scores = graph.scores.clone()  # what of a lattice's scores is the graph's
    return graph


@dataclass
class Lattices:
    """The lattices of a batch.

    Attributes:
      fsa: k2.Fsa (FsaVec) of the lattices, none of them empty; None if there is none.
      rows: the utterance of each of them in the batch.
      num_utterances: of the batch.
      lost: utterances for which no path of the graph survived. Neither they nor utterances
        without frames have a lattice.
      num_thinned: lattices that :meth:`thinned` made smaller.
    """

    fsa: Optional[Any]
    rows: List[int]
    num_utterances: int
    lost: Sequence[int] = ()
    num_thinned: int = 0

    def one_best(self) -> List[Optional[List[int]]]:
        """Output labels of the best path of each utterance.

        Returns:
          None where no path of the graph survived; [] for an utterance without frames.
        """
        results: List[Optional[List[int]]] = [[] for _ in range(self.num_utterances)]
        for row in self.lost:
            results[row] = None
        if self.fsa is None:
            return results
        best = import_k2().shortest_path(self.fsa, use_double_scores=True)
        for row, labels in zip(self.rows, output_labels(best)):
            results[row] = labels
        return results

    def thinned(self, max_arcs: int = MAX_ARCS) -> "Lattices":
        """The same, with less of those that are too large to work with.

        Arcs of small posterior probability are dropped; where that does not suffice, or would
        cost the best path, this path alone is kept.
        """
        if self.fsa is None or max(num_arcs(self.fsa)) <= max_arcs:
            return self
        k2 = import_k2()
        parts = []
        for i, arcs in enumerate(num_arcs(self.fsa)):
            whole = k2.index_fsa(self.fsa, torch.tensor([i], dtype=torch.int32).to(self.fsa.device))
            parts.append(whole if arcs <= max_arcs else _thin(whole, max_arcs))
        large = sum(arcs > max_arcs for arcs in num_arcs(self.fsa))
        return replace(self, fsa=k2.cat(parts), num_thinned=large)

    @property
    def num_arcs(self) -> int:
        return 0 if self.fsa is None else self.fsa.num_arcs

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
        if self.fsa is None:
            return self.by_utterance([])
        best = self.one_best()
        sampled = self._sample(num_paths - 1, nbest_scale) if num_paths > 1 else [[]] * len(best)
        owners: List[int] = []
        outputs: List[List[int]] = []
        for position, row in enumerate(self.rows):
            first = best[row] or []
            different = dict.fromkeys([tuple(first), *map(tuple, sampled[position])])
            owners += [position] * len(different)
            outputs += map(list, different)
        found: List[List[Path]] = [[] for _ in self.rows]
        for owner, path in zip(owners, self._align(owners, outputs)):
            found[owner].append(path)
        return self.by_utterance(found)

    def by_utterance(self, found: Sequence[List[Path]]) -> List[List[Path]]:
        """Paths of each utterance, given those of each lattice.

        An utterance without frames has the empty path, one without a lattice none.
        """
        results = [[Path((), 0.0, 0.0)] for _ in range(self.num_utterances)]
        for row in self.lost:
            results[row] = []
        for row, paths in zip(self.rows, found):
            results[row] = paths
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
        inverted = k2.arc_sort(k2.invert(self.fsa))
        sizes = num_arcs(self.fsa)
        paths: List[Path] = []
        first = work = 0
        for i, (owner, labels) in enumerate(zip(owners, outputs)):
            more = sizes[owner] * (len(labels) + 1)
            if first < i and work + more > ALIGN_WORK:
                paths += _aligned(inverted, owners[first:i], outputs[first:i])
                first, work = i, 0
            work += more
        return paths + _aligned(inverted, owners[first:], outputs[first:])


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

    The lattice of an utterance does not depend on the other utterances of the batch.

    Args:
      log_probs: (N, T, C), float32. C must exceed every label of the graph: k2 reads out of
        bounds otherwise (:func:`gmot.decode.graphs.load_graph` checks the labels).
      lens: (N,), frames of each utterance.
      graph: H or HLG, on the device of ``log_probs``, weighed by :func:`weigh`
        where n-best lists or other language models are wanted.
      search_beam, output_beam, min_active_states, max_active_states: see
        ``k2.intersect_dense_pruned``.
    """
    k2 = import_k2()
    lens = lens.cpu()
    order = torch.sort(lens, descending=True, stable=True).indices  # k2 wants the longest first
    order = order[lens[order] > 0]  # k2 1.23.4 refuses utterances without frames
    if not len(order):
        return Lattices(None, [], len(lens))
    frames = log_probs.float()[order.to(log_probs.device)]

    def found(rows: Tensor, output_beam: float) -> Any:
        return k2.get_lattice(
            log_prob=frames[rows.to(frames.device)].contiguous(),
            log_prob_len=lens[order[rows]],
            decoding_graph=graph,
            search_beam=search_beam,
            output_beam=output_beam,
            min_active_states=min_active_states,
            max_active_states=max_active_states,
        )

    fsa = found(torch.arange(len(order)), output_beam)
    if hasattr(graph, "emits"):
        wider = max(search_beam, output_beam)
        fsa = _standard(fsa, output_beam, lambda rows: found(rows, wider))
    # Empty lattices are left out here: not every operation of k2 takes them.
    counts = torch.tensor(num_arcs(fsa))
    rows, lost = order[counts > 0].tolist(), order[counts == 0].tolist()
    if lost:
        kept = torch.nonzero(counts)[:, 0].int().to(fsa.device)
        fsa = k2.index_fsa(fsa, kept) if len(kept) else None
    return Lattices(fsa, rows, len(lens), lost)


def _standard(fsa: Any, output_beam: float, again: Callable[[Tensor], Any]) -> Any:
    """Lattices of the modified topology, reduced to paths of the standard one.

    The best path is certain if it is within the output beam of the best one of the modified
    topology, because what is better is within it, too. Others are searched again.
    """
    k2 = import_k2()
    standard, hopeless = standard_paths(fsa, HOPELESS_ARCS)
    best, left = (
        x.get_tot_scores(use_double_scores=True, log_semiring=False) for x in (fsa, standard)
    )
    uncertain = torch.nonzero((best - left > output_beam).cpu() & ~hopeless)[:, 0]
    if not len(uncertain):
        return standard
    second, _ = standard_paths(again(uncertain), HOPELESS_ARCS)
    chosen = torch.arange(len(best), dtype=torch.int32)
    chosen[uncertain] = len(best) + torch.arange(len(uncertain), dtype=torch.int32)
    return k2.index_fsa(k2.cat([standard, second]), chosen.to(fsa.device))


def join(parts: Sequence[Lattices]) -> Lattices:
    """The lattices of several batches as those of one."""
    rows: List[int] = []
    lost: List[int] = []
    first = 0
    for part in parts:
        rows += [first + row for row in part.rows]
        lost += [first + row for row in part.lost]
        first += part.num_utterances
    fsas = [part.fsa for part in parts if part.fsa is not None]
    joined = import_k2().cat(fsas) if fsas else None
    return Lattices(joined, rows, first, lost, sum(part.num_thinned for part in parts))


def _thin(lattice: Any, max_arcs: int) -> Any:
    """One lattice with at most so many arcs, its best path among them."""
    k2 = import_k2()
    best = k2.shortest_path(lattice, use_double_scores=True)
    if lattice.num_arcs > HOPELESS_ARCS:
        return best
    score = best.get_tot_scores(use_double_scores=True, log_semiring=False)
    for threshold in (1e-10, 1e-8, 1e-6, 1e-4):
        less = k2.prune_on_arc_post(lattice, threshold, True)
        kept = less.get_tot_scores(use_double_scores=True, log_semiring=False)
        if float(kept) < float(score) - 1e-3:
            break
        if less.num_arcs <= max_arcs:
            return less
    return best


def _aligned(inverted: Any, owners: List[int], outputs: List[List[int]]) -> List[Path]:
    """The best path of each output through its lattice, whose labels are outputs."""
    k2 = import_k2()
    device = inverted.device
    wanted = k2.add_epsilon_self_loops(k2.linear_fsa(outputs, device=device))
    owner_map = torch.tensor(owners, dtype=torch.int32, device=device)
    aligned = k2.intersect_device(inverted, wanted, owner_map, sorted_match_a=True)
    best = k2.shortest_path(k2.top_sort(k2.connect(aligned)), use_double_scores=True)
    columns = (best.scores - best.graph_scores, best.lm_scores)
    scores = zip(*(sums(best, column) for column in columns))
    return [Path(tuple(labels), *of_path) for labels, of_path in zip(outputs, scores)]
