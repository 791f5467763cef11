"""CTC topologies: from a graph over tokens to a graph over frames. Needs k2.

In the standard topology a token that follows another directly must differ from it, so a graph has
a copy of each state per token that enters it, each with all arcs of the state. Where V tokens
enter a state with V arcs (the empty history of a language model, the only state of H), these are
V * V arcs: for 4,300 tokens most of the graph. :func:`factored` shares them.
"""

import inspect
from typing import Any, Tuple

import torch
from torch import Tensor

from gmot.common import GmotError
from gmot.decode.epsilon import make_fsa
from gmot.decode.k2_import import import_k2
from gmot.decode.repeats import ranges

TOPOLOGIES = ("modified", "factored", "full")  # the first one is the default


def check_topology(topology: str) -> None:
    """Check that a topology is known, and offered by the installed k2.

    Raises:
      GmotError: it is not, or no k2.
    """
    if topology not in TOPOLOGIES:
        raise GmotError(f"topology '{topology}': not known, give {', '.join(TOPOLOGIES)}.")
    made = inspect.signature(import_k2().ctc_topo).parameters
    if topology == "modified" and "modified" not in made:
        raise GmotError(
            "topology 'modified': this k2 does not make it (k2.ctc_topo has no such argument). "
            "Give 'factored', or install another k2 (requirements/k2.txt)."
        )


def token_loop(num_tokens: int) -> Any:
    """The graph that accepts every sequence of tokens: what H is a topology of.

    Args:
      num_tokens: outputs of the model, blank included.
    Returns:
      k2.Fsa with ``aux_labels`` equal to its labels.
    """
    tokens = torch.arange(1, num_tokens)
    loops = torch.stack([0 * tokens, 0 * tokens, tokens, tokens], dim=1)
    arcs = torch.cat([loops, torch.tensor([[0, 1, -1, -1]])])
    return make_fsa(arcs, torch.zeros(len(arcs)))


class Plan:
    """The states and the number of arcs of a graph, before it is made.

    Args:
      graph: k2.Fsa over tokens without epsilons, with a tensor ``aux_labels``.
      topology: one of :data:`TOPOLOGIES`.

    Attributes:
      num_arcs: an upper bound: pairs of equal tokens are not subtracted.
    """

    def __init__(self, graph: Any, topology: str):
        check_topology(topology)
        self.topology = topology
        self.num_states = graph.shape[0]
        values = graph.arcs.values()
        arcs = torch.cat([values[:, :3].long(), graph.aux_labels.long()[:, None]], dim=1)
        scores = graph.scores.detach()
        final = arcs[:, 2] == -1
        self.finals = arcs[final], scores[final]
        arcs, scores = arcs[~final], scores[~final]
        assert (arcs[:, 2] > 0).all(), "a graph with epsilons"
        # A pair is a state and a token that enters it.
        width = int(arcs[:, 2].max()) + 1 if len(arcs) else 1
        entered, self.entries = torch.unique(arcs[:, 1] * width + arcs[:, 2], return_inverse=True)
        self.pair_states, self.pair_tokens = entered // width, entered % width
        entering = torch.bincount(self.pair_states, minlength=self.num_states)
        leaving = torch.bincount(arcs[:, 0], minlength=self.num_states)
        inside = torch.bincount(arcs[:, 0][arcs[:, 0] == arcs[:, 1]], minlength=self.num_states)
        arriving = torch.bincount(arcs[:, 1], minlength=self.num_states)
        self.depth, self.radix = _levels(entering, leaving, inside, arriving)
        if topology != "factored":
            self.depth.fill_(0)
        self.blocks = self.radix**self.depth
        # The arcs of a state, block by block. ``cells`` are blocks of states.
        self.first_cell = torch.cat([torch.zeros(1, dtype=torch.long), self.blocks.cumsum(0)])
        cells = self.cell(arcs[:, 0], arcs[:, 2])
        order = torch.sort(cells, stable=True).indices
        self.arcs, self.scores, self.entries = arcs[order], scores[order], self.entries[order]
        counts = torch.bincount(cells, minlength=int(self.first_cell[-1]))
        self.first_arc = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
        self.num_arcs = self._count()

    def cell(self, states: Tensor, tokens: Tensor) -> Tensor:
        return self.first_cell[states] + tokens % self.blocks[states]

    def range_of(self, states: Tensor) -> Tuple[Tensor, Tensor]:
        """First arc of each state, and one past its last."""
        return self.first_arc[self.first_cell[states]], self.first_arc[self.first_cell[states + 1]]

    def _count(self) -> int:
        pairs = len(self.pair_tokens)
        if self.topology == "modified":
            return 2 * len(self.arcs) + 2 * pairs + self.num_states + len(self.finals[1])
        # Arcs of the copies of a state up to each arc of the graph.
        entered = 1 + self.depth[self.arcs[:, 1]]
        made = torch.cat([torch.zeros(1, dtype=torch.long), entered.cumsum(0)])
        begin, end = self.range_of(torch.arange(self.num_states))
        of_state = made[end] - made[begin]
        cells = self.cell(self.pair_states, self.pair_tokens)
        of_pairs = made[self.first_arc[cells + 1]] - made[self.first_arc[cells]]
        of_nodes = self.depth * (self.radix - 1) * of_state
        loops = 2 * pairs + int(self.depth[self.pair_states].sum()) + self.num_states
        with_finals = torch.bincount(self.finals[0][:, 0], minlength=self.num_states)
        finals = int(with_finals.sum() + with_finals[self.pair_states].sum())
        return int(of_state.sum() + of_pairs.sum() + of_nodes.sum()) + loops + finals


MAX_DEPTH = 4


def _levels(
    entering: Tensor, leaving: Tensor, inside: Tensor, arriving: Tensor
) -> Tuple[Tensor, Tensor]:
    """Depth and radix of the tree over tokens per state, for the fewest arcs.

    Args:
      entering: tokens that enter each state.
      leaving, arriving: arcs that leave and enter it.
      inside: arcs that leave and enter it.
    Returns:
      Depth 0 (nothing shared) where sharing would not halve the arcs.
    """
    fewest = (entering * leaving).double() / 2
    depth = torch.zeros_like(entering)
    radix = torch.full_like(entering, 2)
    share = inside / leaving.clamp(min=1)
    for levels in range(1, MAX_DEPTH + 1):
        wide = entering.double().pow(1 / (levels + 1)).ceil().clamp(min=2)
        copies = levels * (wide - 1) + entering / wide**levels
        arcs = copies * leaving * (1 + levels * share) + 2 * levels * arriving
        better = arcs < fewest
        fewest = torch.where(better, arcs, fewest)
        depth[better] = levels
        radix[better] = wide[better].long()
    return depth, radix


def expand(plan: Plan, graph: Any, num_tokens: int) -> Any:
    """The graph over frames.

    Args:
      plan: of ``graph``.
      graph: k2.Fsa over tokens.
      num_tokens: outputs of the model, blank included.
    Returns:
      k2.Fsa sorted by arcs, connected, with a tensor ``aux_labels``; if modified, with ``emits``:
      1 where an arc begins a token (:mod:`gmot.decode.repeats`).
    """
    k2 = import_k2()
    if plan.topology == "factored":
        return k2.arc_sort(k2.connect(factored(plan)))
    graph = k2.Fsa(graph.arcs, aux_labels=graph.aux_labels)
    h = k2.ctc_topo(max_token=num_tokens - 1, modified=plan.topology == "modified")
    made = k2.compose(h, k2.arc_sort(graph), inner_labels="tokens")
    if plan.topology == "modified":
        made.emits = (made.tokens > 0).int()
    del made.tokens
    return k2.arc_sort(k2.connect(made))


def factored(plan: Plan) -> Any:
    """The standard topology with shared arcs: the same paths with the same scores.

    The arcs of a state ``x`` are in ``radix ** depth`` cells, by the remainders of their tokens,
    and the cells are the leaves of a tree. ``x`` has these copies, by what the last frame was:

    * blank: all arcs of ``x``;
    * token ``k``: itself for another frame of ``k``, blank, and the arcs of ``x`` whose tokens are
      in the cell of ``k`` and are not ``k``;
    * a token below node ``n`` of the tree, in its last frame: the arcs of ``x`` with tokens below
      the parent of ``n`` but not below ``n``.

    What enters ``x`` with ``k`` enters the copy of ``k`` and those of all nodes above its cell.
    Each arc with another token than ``k`` leaves exactly one of them. Where ``m`` tokens enter
    and ``d`` arcs leave, these are about ``(depth + 1) * m ** (1 / (depth + 1)) * d`` arcs instead
    of ``m * d``.

    Args:
      plan: of the graph over tokens.
    Returns:
      k2.Fsa with a tensor ``aux_labels``.
    """
    num_states, num_pairs = plan.num_states, len(plan.pair_tokens)
    depth, radix = plan.depth, plan.radix
    states = torch.arange(num_states - 1)  # but for the final one
    pairs = torch.arange(num_pairs)
    pair_ids = num_states - 1 + pairs
    num_nodes = _nodes_above(radix, depth + 1) * (depth > 0)
    first_node = num_states - 1 + num_pairs + num_nodes.cumsum(0) - num_nodes
    final = num_states - 1 + num_pairs + int(num_nodes.sum())
    parts = []

    def copies(sources: Tensor, begin: Tensor, end: Tensor, tokens: Tensor) -> None:
        """Arcs of the graph in [begin, end) leave ``sources``, but for those with ``tokens``."""
        owner, arc = ranges(begin, end)
        differ = plan.arcs[arc, 2] != tokens[owner]
        owner, arc = owner[differ], arc[differ]
        enter(sources[owner], plan.entries[arc], plan.arcs[arc, 3], plan.scores[arc])

    def enter(sources: Tensor, entries: Tensor, aux: Tensor, scores: Tensor) -> None:
        tokens, targets = plan.pair_tokens[entries], plan.pair_states[entries]
        add(sources, num_states - 1 + entries, tokens, aux, scores)
        for level in range(1, MAX_DEPTH + 1):
            into = depth[targets] >= level
            target, token = targets[into], tokens[into]
            leaf = token % plan.blocks[target]
            node = leaf // radix[target] ** (depth[target] - level)
            node = first_node[target] + _nodes_above(radix[target], level) + node
            add(sources[into], node, token, aux[into], scores[into])

    def add(sources: Tensor, targets: Tensor, tokens: Tensor, aux: Tensor, scores: Tensor) -> None:
        parts.append((torch.stack([sources, targets, tokens, aux], dim=1).int(), scores))

    def silent(sources: Tensor, targets: Tensor) -> None:
        zeros = torch.zeros_like(sources)
        add(sources, targets, zeros, zeros, torch.zeros(len(sources)))

    copies(states, *plan.range_of(states), torch.zeros_like(states))
    cells = plan.cell(plan.pair_states, plan.pair_tokens)
    copies(pair_ids, plan.first_arc[cells], plan.first_arc[cells + 1], plan.pair_tokens)
    for level in range(1, MAX_DEPTH + 1):
        deep = torch.nonzero(depth >= level)[:, 0]
        owner, node = ranges(torch.zeros_like(deep), radix[deep] ** level)
        state = deep[owner]
        source = first_node[state] + _nodes_above(radix[state], level) + node
        below = radix[state] ** (depth[state] - level)  # cells of the node
        cell = plan.first_cell[state] + node * below
        parent = plan.first_cell[state] + node // radix[state] * radix[state] * below
        zeros = torch.zeros_like(state)
        copies(source, plan.first_arc[parent], plan.first_arc[cell], zeros)
        after = parent + radix[state] * below
        copies(source, plan.first_arc[cell + below], plan.first_arc[after], zeros)

    enter(pair_ids, pairs, torch.zeros_like(pairs), torch.zeros(num_pairs))
    silent(pair_ids, plan.pair_states)
    silent(states, states)
    ends, end_scores = plan.finals
    owner, arc = ranges(*_equal(ends[:, 0], torch.cat([states, plan.pair_states])))
    sources = torch.cat([states, pair_ids])[owner]
    minus = torch.full_like(sources, -1)
    add(sources, torch.full_like(sources, final), minus, minus, end_scores[arc])
    return make_fsa(torch.cat([a for a, _ in parts]), torch.cat([s for _, s in parts]))


def _nodes_above(radix: Tensor, level: Any) -> Tensor:
    """Nodes of the tree above a level; its first level is 1."""
    return (radix**level - radix) // (radix - 1)


def _equal(ordered: Tensor, values: Tensor) -> Tuple[Tensor, Tensor]:
    """The range of ``ordered`` that equals each value."""
    ordered = ordered.contiguous()
    return torch.searchsorted(ordered, values), torch.searchsorted(ordered, values, right=True)
