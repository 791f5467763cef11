"""Lattice generation, lattice pruning, best paths and n-best lists. Needs k2.

A lattice is the part of (graph x log-probabilities) within the beams. Scores are natural
logarithms. Graph (LM) scores are kept apart from acoustic scores, so that both can be rescaled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmot.decode.fsa import arc_sums, num_arcs, separate
from gmot.decode.k2_import import import_k2
from gmot.decode.repeats import standard_paths

# Arcs per lattice for n-best lists and rescoring. Some thousands are usual, but the
# log-probabilities of an untrained model can give millions.
MAX_ARCS = 200_000
# Larger lattices are reduced to their best path without computing arc posteriors.
MAX_PRUNABLE_ARCS = 4_000_000
# Arcs of all lattices of a batch; above, utterances are searched and pruned one by one.
MAX_BATCH_ARCS = 20_000_000
# Arcs x labels per call for the alignments of n-best lists.
ALIGN_WORK = 30_000_000


class Path(NamedTuple):
    """A sequence of output labels with the scores of its best alignment.

    Attributes:
      labels: outputs of the graph: words of HLG, tokens of H.
      acoustic: acoustic score.
      graph: unscaled score of the graph's LM.
      lm: score of the rescoring LM, if any.
    """

    labels: tuple[int, ...]
    acoustic: float
    graph: float
    lm: float = 0.0


def scale_graph(graph: Any, scale: float) -> Any:
    """Copy of a graph with scores times ``scale``; ``lm_scores`` keeps the unscaled ones."""
    scaled = graph.clone()
    scaled.lm_scores = graph.scores.clone()
    scaled.scores = scaled.lm_scores * scale
    scaled.graph_scores = scaled.scores.clone()  # the graph's share of lattice scores
    return scaled


@dataclass
class Lattices:
    """Lattices of a batch.

    Attributes:
      fsa: k2.Fsa (FsaVec) of the non-empty lattices, or None.
      rows: row in the batch of each lattice.
      num_utterances: N.
      lost: rows without a path in the graph. Neither these nor utterances without frames
        have a lattice.
      num_pruned: number of lattices reduced by :meth:`pruned`.
    """

    fsa: Any
    rows: list[int]
    num_utterances: int
    lost: Sequence[int] = ()
    num_pruned: int = 0

    def one_best(self) -> list[list[int] | None]:
        """Output labels of the best path per utterance; None without a path in the graph."""
        if self.fsa is None:
            return self._by_utterance([], [], None)
        best = import_k2().shortest_path(self.fsa, use_double_scores=True)
        return self._by_utterance(import_k2().get_aux_labels(best), [], None)

    def pruned(self, max_arcs: int = MAX_ARCS) -> "Lattices":
        """Lattices with at most ``max_arcs`` arcs each.

        Arcs of low posterior are removed; if that does not suffice or removes the best path, only
        the best path is kept.
        """
        if self.fsa is None or max(num_arcs(self.fsa)) <= max_arcs:
            return self
        large = [size > max_arcs for size in num_arcs(self.fsa)]
        ones = [_prune(x, max_arcs) if cut else x for x, cut in zip(separate(self.fsa), large)]
        return replace(self, fsa=import_k2().cat(ones), num_pruned=sum(large))

    @property
    def num_arcs(self) -> int:
        return 0 if self.fsa is None else self.fsa.num_arcs

    def nbest(self, num_paths: int = 100, nbest_scale: float = 0.5) -> list[list[Path]]:
        """N-best lists: the best path, then the distinct outputs of sampled paths.

        Args:
          num_paths: sampled paths, the best one included.
          nbest_scale: scale of the lattice scores for sampling; smaller gives more distinct paths.
        Returns:
          Paths per utterance with the scores of their best alignments; none without a path in
          the graph.
        """
        if self.fsa is None:
            return self.by_utterance([])
        best = self.one_best()
        sampled = self._sample(num_paths - 1, nbest_scale) if num_paths > 1 else [[]] * len(best)
        owners: list[int] = []
        outputs: list[list[int]] = []
        for lattice, row in enumerate(self.rows):
            distinct = dict.fromkeys(map(tuple, [best[row] or [], *sampled[lattice]]))
            owners += [lattice] * len(distinct)
            outputs += map(list, distinct)
        found: list[list[Path]] = [[] for _ in self.rows]
        for owner, path in zip(owners, self._align(owners, outputs)):
            found[owner].append(path)
        return self.by_utterance(found)

    def by_utterance(self, found: Sequence[list[Path]]) -> list[list[Path]]:
        """Paths per utterance from paths per lattice.

        Utterances without frames get the empty path, those without a path in the graph none.
        """
        return self._by_utterance(found, [Path((), 0.0, 0.0)], [])

    def _by_utterance(self, found: Sequence[Any], no_frames: Any, lost: Any) -> list[Any]:
        results = [no_frames] * self.num_utterances
        for row in self.lost:
            results[row] = lost
        for row, result in zip(self.rows, found):
            results[row] = result
        return results

    def _sample(self, num_paths: int, scale: float) -> list[list[list[int]]]:
        """Outputs of sampled paths per lattice."""
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

    def _align(self, owners: list[int], outputs: list[list[int]]) -> list[Path]:
        """Best alignment of each output in its lattice (``owners``)."""
        k2 = import_k2()
        inverted = k2.arc_sort(k2.invert(self.fsa))
        sizes = num_arcs(self.fsa)
        paths: list[Path] = []
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
    lengths: Tensor,
    graph: Any,
    search_beam: float = 20.0,
    output_beam: float = 8.0,
    min_active_states: int = 30,
    max_active_states: int = 10000,
) -> Lattices:
    """Lattices of a batch; those of an utterance do not depend on the rest of the batch.

    Args:
      log_probs: (N, T, C), float32. C must exceed all labels of the graph, or k2 reads out of
        bounds (checked by :func:`gmot.decode.fsa_graphs.load_graph`).
      lengths: (N,), number of frames.
      graph: H or HLG on the device of ``log_probs``, from :func:`scale_graph` for n-best lists
        and rescoring.
      search_beam, output_beam, min_active_states, max_active_states: of
        ``k2.intersect_dense_pruned``.
    """
    k2 = import_k2()
    lengths = lengths.cpu()
    order = torch.sort(lengths, descending=True, stable=True).indices  # k2: the longest first
    order = order[lengths[order] > 0]  # k2 1.23.4 does not accept utterances without frames
    if not len(order):
        return Lattices(None, [], len(lengths))
    frames = log_probs.float()[order.to(log_probs.device)]

    def lattices(rows: Tensor, output_beam: float) -> Any:
        return k2.get_lattice(
            log_prob=frames[rows.to(frames.device)].contiguous(),
            log_prob_len=lengths[order[rows]],
            decoding_graph=graph,
            search_beam=search_beam,
            output_beam=output_beam,
            min_active_states=min_active_states,
            max_active_states=max_active_states,
        )

    fsa = lattices(torch.arange(len(order)), output_beam)
    if hasattr(graph, "emits"):
        wider = max(search_beam, output_beam)
        fsa = _standard(fsa, output_beam, lambda rows: lattices(rows, wider))
    # Not every k2 operation accepts empty lattices.
    counts = torch.tensor(num_arcs(fsa))
    rows, lost = order[counts > 0].tolist(), order[counts == 0].tolist()
    if lost:
        kept = torch.nonzero(counts)[:, 0].int().to(fsa.device)
        fsa = k2.index_fsa(fsa, kept) if len(kept) else None
    return Lattices(fsa, rows, len(lengths), lost)


def _standard(fsa: Any, output_beam: float, search_again: Callable[[Tensor], Any]) -> Any:
    """Lattices of the modified topology, reduced to paths of the standard topology.

    The best standard path is exact if it is within the output beam of the best modified path,
    since all better paths are within the beam, too. Otherwise the utterance is searched again.
    """
    k2 = import_k2()
    standard, too_large = standard_paths(fsa, MAX_PRUNABLE_ARCS)
    best, kept = (
        x.get_tot_scores(use_double_scores=True, log_semiring=False) for x in (fsa, standard)
    )
    uncertain = torch.nonzero((best - kept > output_beam).cpu() & ~too_large)[:, 0]
    if not len(uncertain):
        return standard
    second, _ = standard_paths(search_again(uncertain), MAX_PRUNABLE_ARCS)
    chosen = torch.arange(len(best), dtype=torch.int32)
    chosen[uncertain] = len(best) + torch.arange(len(uncertain), dtype=torch.int32)
    return k2.index_fsa(k2.cat([standard, second]), chosen.to(fsa.device))


def concatenate(batches: Sequence[Lattices]) -> Lattices:
    """Lattices of consecutive batches as those of one batch."""
    whole = Lattices(None, [], 0, [])
    for batch in batches:
        first = whole.num_utterances
        whole.rows += [first + row for row in batch.rows]
        whole.lost = [*whole.lost, *(first + row for row in batch.lost)]
        whole.num_utterances += batch.num_utterances
        whole.num_pruned += batch.num_pruned
    fsas = [batch.fsa for batch in batches if batch.fsa is not None]
    return replace(whole, fsa=import_k2().cat(fsas) if fsas else None)


def _prune(lattice: Any, max_arcs: int) -> Any:
    """One lattice with at most ``max_arcs`` arcs, its best path included."""
    k2 = import_k2()
    best = k2.shortest_path(lattice, use_double_scores=True)
    if lattice.num_arcs > MAX_PRUNABLE_ARCS:
        return best
    score = best.get_tot_scores(use_double_scores=True, log_semiring=False)
    for threshold in (1e-10, 1e-8, 1e-6, 1e-4):
        pruned = k2.prune_on_arc_post(lattice, threshold, True)
        kept = pruned.get_tot_scores(use_double_scores=True, log_semiring=False)
        if float(kept) < float(score) - 1e-3:
            break
        if pruned.num_arcs <= max_arcs:
            return pruned
    return best


def _aligned(inverted: Any, owners: list[int], outputs: list[list[int]]) -> list[Path]:
    """Best path of each output through its lattice (inverted: the labels are outputs)."""
    k2 = import_k2()
    device = inverted.device
    wanted = k2.add_epsilon_self_loops(k2.linear_fsa(outputs, device=device))
    owner_map = torch.tensor(owners, dtype=torch.int32, device=device)
    aligned = k2.intersect_device(inverted, wanted, owner_map, sorted_match_a=True)
    best = k2.shortest_path(k2.top_sort(k2.connect(aligned)), use_double_scores=True)
    scores = (arc_sums(best, x) for x in (best.scores - best.graph_scores, best.lm_scores))
    return [Path(tuple(labels), *pair) for labels, *pair in zip(outputs, *scores)]
