"""Instances of fused Gromov-Wasserstein, a slow and exact reference, and the score of a plan.

Plain numpy in float64, and independent of gmot and of all that is compared with it.

  F(P)     = (1 - alpha) <M, P> + alpha sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl
  F_eps(P) = F(P) + epsilon sum P log P          over P >= 0, P 1 = 1 / T, P^T 1 = 1 / L
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FEATURES = ("random", "speech-like")
DIMENSION = 256
ALPHA = 0.5
# Frames are their token plus so much noise (standard deviations, the token's entries have one).
NOISE = 0.5


@dataclass(frozen=True)
class Problem:
    """A batch of problems; uniform weights, nothing is padding.

    Attributes:
      features: one of ``FEATURES``.
      x, y: (B, T, D), (B, L, D) float32, frames and tokens.
      node, edges_a, edges_b: (B, T, L), (B, T, T), (B, L, L) float32, cosine distances.
      alpha, epsilon: of the objective.
    """

    features: str
    x: np.ndarray
    y: np.ndarray
    node: np.ndarray
    edges_a: np.ndarray
    edges_b: np.ndarray
    alpha: float
    epsilon: float

    @property
    def size(self) -> tuple[int, int, int]:
        """(B, T, L)."""
        return self.node.shape


def make_problem(
    size: tuple[int, int, int], features: str, epsilon: float, seed: int = 0
) -> Problem:
    """A batch from a seed.

    "random": frames and tokens are independent, from a normal distribution. The problem is nearly
    flat, and two to four outer steps solve it. "speech-like": frames follow the tokens in order,
    each for a random duration of at least one frame, with noise.
    """
    batch, rows, columns = size
    random = np.random.default_rng(seed)
    y = random.standard_normal((batch, columns, DIMENSION))
    x = random.standard_normal((batch, rows, DIMENSION))
    if features == "speech-like":
        for item in range(batch):
            starts = np.sort(random.choice(np.arange(1, rows), columns - 1, replace=False))
            owners = np.searchsorted(starts, np.arange(rows), side="right")
            x[item] = y[item, owners] + NOISE * x[item]
    elif features != "random":
        raise ValueError(f"features: expected one of {', '.join(FEATURES)}; found {features!r}.")
    x, y = x.astype(np.float32), y.astype(np.float32)
    unit_x, unit_y = _unit(x), _unit(y)
    costs = (
        (1 - left @ right.transpose(0, 2, 1)).astype(np.float32)
        for left, right in ((unit_x, unit_y), (unit_x, unit_x), (unit_y, unit_y))
    )
    return Problem(features, x, y, *costs, alpha=ALPHA, epsilon=epsilon)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


# ------------------------------------------------------------------------------- the objective


def _linear(problem: Problem, plan: np.ndarray) -> np.ndarray:
    """sum_jl |C1_ij - C2_kl|^2 P_jl at every (i, k): half the gradient of the edge term."""
    edges_a, edges_b = (e.astype(np.float64) for e in (problem.edges_a, problem.edges_b))
    rows, columns = plan.sum(2), plan.sum(1)
    constant = (edges_a**2 @ rows[:, :, None]) + (edges_b**2 @ columns[:, :, None]).transpose(
        0, 2, 1
    )
    return constant - 2 * edges_a @ plan @ edges_b


def objective(problem: Problem, plan: np.ndarray) -> np.ndarray:
    """(B,) F_eps."""
    node = (problem.node * plan).sum((1, 2))
    edge = (_linear(problem, plan) * plan).sum((1, 2))
    entropy = (plan * np.log(np.where(plan > 0, plan, 1))).sum((1, 2))
    return (1 - problem.alpha) * node + problem.alpha * edge + problem.epsilon * entropy


def unregularised(problem: Problem, plan: np.ndarray) -> np.ndarray:
    """(B,) F: what the solvers of another objective minimise."""
    node = (problem.node * plan).sum((1, 2))
    edge = (_linear(problem, plan) * plan).sum((1, 2))
    return (1 - problem.alpha) * node + problem.alpha * edge


def gradient(problem: Problem, plan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of sum F_eps with respect to x and y, the plan held: exact at a stationary point."""
    x, y = _unit(problem.x), _unit(problem.y)
    rows, columns = plan.sum(2), plan.sum(1)
    edges_a, edges_b = (e.astype(np.float64) for e in (problem.edges_a, problem.edges_b))
    backward = plan.transpose(0, 2, 1)
    to_a = edges_a * rows[:, :, None] * rows[:, None, :] - plan @ edges_b @ backward
    to_b = edges_b * columns[:, :, None] * columns[:, None, :] - backward @ edges_a @ plan
    node = (1 - problem.alpha) * plan
    # Each cost is 1 - <unit, unit>; that of edges depends on its vectors twice.
    to_x = -node @ y - 4 * problem.alpha * to_a @ x
    to_y = -node.transpose(0, 2, 1) @ x - 4 * problem.alpha * to_b @ y
    found = []
    for unit, towards, vectors in ((x, to_x, problem.x), (y, to_y, problem.y)):
        tangent = towards - (towards * unit).sum(2, keepdims=True) * unit
        found.append(tangent / np.linalg.norm(vectors.astype(np.float64), axis=2, keepdims=True))
    return tuple(found)


# ------------------------------------------------------------------------------- quality


def rounded(plan: np.ndarray) -> np.ndarray:
    """The plan brought to uniform marginals: Altschuler et al. 2017 (arXiv 1705.09634), Alg. 2."""
    rows, columns = 1 / plan.shape[1], 1 / plan.shape[2]
    tiny = np.finfo(np.float64).tiny
    plan = plan * np.minimum(rows / np.maximum(plan.sum(2), tiny), 1)[:, :, None]
    plan = plan * np.minimum(columns / np.maximum(plan.sum(1), tiny), 1)[:, None, :]
    left, right = rows - plan.sum(2), columns - plan.sum(1)
    mass = np.maximum(np.abs(left).sum(1), tiny)
    return plan + left[:, :, None] * right[:, None, :] / mass[:, None, None]


def marginal_error(plan: np.ndarray) -> np.ndarray:
    """(B,) |P 1 - a|_1 + |P^T 1 - b|_1."""
    rows = np.abs(plan.sum(2) - 1 / plan.shape[1]).sum(1)
    return rows + np.abs(plan.sum(1) - 1 / plan.shape[2]).sum(1)


class Quality(NamedTuple):
    """How good a batch of plans is, at its worst item.

    Attributes:
      gap: F_eps of the rounded plan minus the reference's; of the items the largest.
      marginal: L1 error before rounding, the largest.
      cost: F of the rounded plans, without entropy, the mean.
    """

    gap: float
    marginal: float
    cost: float


def quality(problem: Problem, plan: np.ndarray, best: np.ndarray) -> Quality:
    """The score of ``plan`` (B, T, L), where ``best`` (B,) are the values of the reference."""
    plan = np.asarray(plan, dtype=np.float64)
    if not np.isfinite(plan).all():
        return Quality(float("nan"), float("nan"), float("nan"))
    feasible = rounded(plan)
    gap = objective(problem, feasible) - best
    cost = unregularised(problem, feasible).mean()
    return Quality(float(gap.max()), float(marginal_error(plan).max()), float(cost))


# ------------------------------------------------------------------------------- the reference


class Reference(NamedTuple):
    """A stationary point of F_eps.

    Attributes:
      plan: (B, T, L).
      value: (B,) F_eps.
      change: L1 change of the plan in the last outer step, of the items the largest.
    """

    plan: np.ndarray
    value: np.ndarray
    change: float


def reference(problem: Problem, tolerance: float = 1e-12, seconds: float = 20.0) -> Reference:
    """Projected gradient from a b^T, each step an entropic transport solved by Sinkhorn.

    The potentials are kept, so ten iterations a step are enough. It ends when the plan changes by
    no more than ``tolerance`` and its marginals are as exact, or when the time is over.
    """
    batch, rows, columns = problem.size
    plan = np.full(problem.size, 1 / (rows * columns))
    f, g = np.zeros((batch, rows, 1)), np.zeros((batch, 1, columns))
    change, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        gradient = (1 - problem.alpha) * problem.node + 2 * problem.alpha * _linear(problem, plan)
        kernel = -gradient / problem.epsilon
        # In the log domain once, which is safe from anywhere; then on the exponential of that.
        f = -np.log(rows) - _log_sum(kernel + g, 2)
        g = -np.log(columns) - _log_sum(kernel + f, 1)
        new = np.exp(kernel + f + g)
        u, v = np.ones_like(f), np.ones_like(g)
        for _ in range(10):
            u = 1 / (rows * (new @ v.transpose(0, 2, 1)))
            v = 1 / (columns * (u.transpose(0, 2, 1) @ new))
        f, g, new = f + np.log(u), g + np.log(v), u * new * v
        change = float(np.abs(new - plan).sum((1, 2)).max())
        plan = new
        if change <= tolerance and marginal_error(plan).max() <= tolerance:
            break
    return Reference(plan, objective(problem, rounded(plan)), change)


def _log_sum(kernel: np.ndarray, axis: int) -> np.ndarray:
    top = kernel.max(axis, keepdims=True)
    return top + np.log(np.exp(kernel - top).sum(axis, keepdims=True))
