"""What a backend is asked to solve, and what it answers."""

from dataclasses import dataclass
from typing import NamedTuple, Optional

from torch import Tensor

from gmot.ot.operators import Operator


@dataclass(frozen=True)
class Task:
    """A batch of problems and how to solve it.

    One outer step minimises <G, P> + epsilon sum P log P, with

      G = (1 - alpha) M - 4 alpha C1 P_old C2       (terms of one index are left to the potentials)

    and, if proximal, - epsilon log P_old, by Sinkhorn's iterations from the last potentials.

    Attributes:
      node_cost: (N, T, L), zero on padding, without gradient unless it is unrolled.
      weights_a, weights_b: (N, T), (N, L), zero on padding.
      edges_a, edges_b: how C1, C2 multiply, up to terms of one index; None if alpha is 0.
      alpha, epsilon, proximal: the outer loop.
      max_outer: outer steps at most; 1 for Sinkhorn.
      max_inner: Sinkhorn iterations in an outer step at most.
      tolerance: an item stops when a step changed its plan by no more (L1) and its marginal
        error is no more than marginal_tolerance, at which an inner solve stops too.
      power_a, power_b: exponents lambda / (lambda + epsilon) of unbalanced scaling; 1: balanced.
      psi: (N, L) column potentials over epsilon at the start, -inf on padding; None: 0.
    """

    node_cost: Tensor
    weights_a: Tensor
    weights_b: Tensor
    edges_a: Optional[Operator]
    edges_b: Optional[Operator]
    alpha: float
    epsilon: float
    proximal: bool
    max_outer: int
    max_inner: int
    tolerance: float
    marginal_tolerance: float
    power_a: float = 1.0
    power_b: float = 1.0
    psi: Optional[Tensor] = None


class Solution(NamedTuple):
    """What a backend answers.

    Attributes:
      plan: (N, T, L), contiguous, zero on padding.
      error: (N,) marginal error, see TransportResult.
      iterations: (N,) int64: outer steps; if ``max_outer`` is 1, Sinkhorn's iterations.
    """

    plan: Tensor
    error: Tensor
    iterations: Tensor
