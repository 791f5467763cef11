"""How each library is called: one problem, ready in the library's own arrays, behind three calls.

Import it after the process has been pinned: numpy, torch and jax look at the cores when they load.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from problems import Problem

Gradient = tuple[np.ndarray, np.ndarray]


class Calls(NamedTuple):
    """One problem in the arrays of one library.

    Attributes:
      forward: from ready cost matrices to a plan whose numbers are there; None: not timed.
      plan: what ``forward`` gave, as numpy (B, T, L).
      step: from features to the gradients of the sum of the values with respect to x and y;
        None: not timed.
    """

    forward: Callable[[], Any] | None
    plan: Callable[[Any], np.ndarray]
    step: Callable[[], Gradient] | None


# ------------------------------------------------------------------------------- shared


def _tensors(problem: Problem) -> tuple[torch.Tensor, ...]:
    arrays = (problem.node, problem.edges_a, problem.edges_b)
    return tuple(torch.from_numpy(a.copy()) for a in arrays)


def _leaves(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.from_numpy(a.copy()).requires_grad_() for a in (problem.x, problem.y))


def _gradient(value: torch.Tensor, leaves: tuple[torch.Tensor, torch.Tensor]) -> Gradient:
    return tuple(g.numpy() for g in torch.autograd.grad(value, leaves))


def _torch_costs(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x, y = (torch.nn.functional.normalize(v, dim=2) for v in (x, y))
    return tuple(1 - torch.bmm(a, b.mT) for a, b in ((x, y), (x, x), (y, y)))


def _held_value(node: Any, edges_a: Any, edges_b: Any, plan: Any, alpha: float) -> Any:
    """The part of F_eps that depends on the costs, in torch or jax, with the plan held."""
    rows, columns = plan.sum(2), plan.sum(1)
    edge = (edges_a**2 * rows[:, :, None] * rows[:, None, :]).sum()
    edge = edge + (edges_b**2 * columns[:, :, None] * columns[:, None, :]).sum()
    edge = edge - 2 * ((edges_a @ plan @ edges_b) * plan).sum()
    return (1 - alpha) * (node * plan).sum() + alpha * edge


def floor(problem: Problem) -> Callable[[], Gradient]:
    """The three cost tensors by plain torch, and back from a random linear function of them."""
    leaves = _leaves(problem)
    directions = [torch.randn(c.shape) for c in _tensors(problem)]

    def step() -> Gradient:
        found = torch.autograd.grad(_torch_costs(*leaves), leaves, directions)
        return tuple(g.numpy() for g in found)

    return step


# ------------------------------------------------------------------------------- gmot


def gmot(backend: str) -> Callable[[Problem, Any], Calls]:
    def prepare(problem: Problem, settings: dict[str, Any]) -> Calls:
        from gmot.ot import CosineEdges, fused_gromov_wasserstein
        from gmot.transfer.sequence_graphs import unit, unit_distance

        weights = dict(edge_weight=problem.alpha, epsilon=problem.epsilon)
        options = dict(settings, **weights, backend=backend)
        costs, leaves = _tensors(problem), _leaves(problem)

        def step() -> Gradient:
            x, y = (unit(leaf) for leaf in leaves)
            edges = CosineEdges(x), CosineEdges(y)
            found = fused_gromov_wasserstein(unit_distance(x, y), *edges, **options)
            return _gradient(found.value.sum(), leaves)

        @torch.no_grad()
        def forward() -> torch.Tensor:
            return fused_gromov_wasserstein(*costs, **options).plan

        return Calls(forward, lambda plan: plan.numpy(), step)

    return prepare


# ------------------------------------------------------------------------------- POT


def pot_loop(problem: Problem, settings: dict[str, Any]) -> Calls:
    """numpy float64, an item after the other; the gradient by hand, with the plan held."""
    import ot

    options = dict(settings, alpha=problem.alpha, epsilon=problem.epsilon, symmetric=True)
    costs = _doubles(problem.node, problem.edges_a, problem.edges_b)
    leaves = _leaves(problem)

    def solve(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        found = (
            ot.gromov.entropic_fused_gromov_wasserstein(*item, **options, warn=False)
            for item in zip(*arrays)
        )
        return np.stack(list(found))

    def step() -> Gradient:
        tensors = _torch_costs(*leaves)
        plan = solve(_doubles(*(t.detach().numpy() for t in tensors)))
        plan = torch.from_numpy(plan).float()
        return _gradient(_held_value(*tensors, plan, problem.alpha), leaves)

    return Calls(lambda: solve(costs), lambda plan: plan, step)


def pot_loop_torch(problem: Problem, settings: dict[str, Any]) -> Calls:
    """The same loop on float64 tensors; the gradient of its value through all steps."""
    import ot

    options = dict(settings, alpha=problem.alpha, epsilon=problem.epsilon, symmetric=True)
    costs, leaves = tuple(c.double() for c in _tensors(problem)), _leaves(problem)

    def forward() -> torch.Tensor:
        solve = ot.gromov.entropic_fused_gromov_wasserstein
        return torch.stack([solve(*item, **options, warn=False) for item in zip(*costs)])

    def step() -> Gradient:
        items = zip(*(c.double() for c in _torch_costs(*leaves)))
        solve = ot.gromov.entropic_fused_gromov_wasserstein2
        return _gradient(sum(solve(*item, **options, warn=False) for item in items), leaves)

    return Calls(forward, lambda plan: plan.numpy(), step)


def pot_exact(problem: Problem, settings: None) -> Calls:
    """Conditional gradient with exact transport; its own envelope gradient."""
    import ot

    options = dict(alpha=problem.alpha, symmetric=True)
    costs, leaves = _doubles(problem.node, problem.edges_a, problem.edges_b), _leaves(problem)

    def forward() -> np.ndarray:
        solve = ot.gromov.fused_gromov_wasserstein
        return np.stack([solve(*item, **options) for item in zip(*costs)])

    def step() -> Gradient:
        items = zip(*(c.double() for c in _torch_costs(*leaves)))
        solve = ot.gromov.fused_gromov_wasserstein2
        return _gradient(sum(solve(*item, **options) for item in items), leaves)

    return Calls(forward, lambda plan: plan, step)


def pot_batch(problem: Problem, settings: None) -> Calls:
    """Its defaults, but for the test of symmetry."""
    import ot.batch

    options = dict(reg=problem.epsilon, alpha=problem.alpha, symmetric=True)
    (node, *edges), leaves = _tensors(problem), _leaves(problem)

    def forward() -> torch.Tensor:
        return ot.batch.solve_gromov_batch(*edges, M=node, grad="detach", **options).plan

    def step() -> Gradient:
        node, *edges = _torch_costs(*leaves)
        found = ot.batch.solve_gromov_batch(*edges, M=node, grad="envelope", **options)
        return _gradient(found.value.sum(), leaves)

    return Calls(forward, lambda plan: plan.numpy(), step)


def _doubles(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(a.astype(np.float64) for a in arrays)


# ------------------------------------------------------------------------------- OTT-JAX


def ott(problem: Problem, settings: tuple[float, int, int, float, float]) -> Calls:
    """vmap and jit; the compiler has run before anything is timed."""
    import jax
    import jax.numpy as jnp

    solve, gradient = _ott_functions(problem.alpha, problem.epsilon, settings)
    costs = [jnp.asarray(c) for c in (problem.node, problem.edges_a, problem.edges_b)]
    features = [jnp.asarray(f) for f in (problem.x, problem.y)]

    def step() -> Gradient:
        return tuple(np.asarray(g) for g in jax.block_until_ready(gradient(*features)[1]))

    return Calls(lambda: jax.block_until_ready(solve(*costs)), np.asarray, step)


@lru_cache(maxsize=None)  # noqa: UP033 (read with the rest of the repository: Python 3.9)
def _ott_functions(alpha: float, epsilon: float, settings: tuple[float, ...]) -> Any:
    import jax
    from ott.geometry.geometry import Geometry
    from ott.problems.quadratic.quadratic_problem import QuadraticProblem
    from ott.solvers.linear import acceleration, sinkhorn
    from ott.solvers.quadratic.gromov_wasserstein import GromovWasserstein

    tolerance, check_every, most, momentum, threshold = settings
    linear = sinkhorn.Sinkhorn(
        lse_mode=True,
        threshold=tolerance,
        inner_iterations=check_every,
        min_iterations=check_every,
        max_iterations=most,
        momentum=acceleration.Momentum(start=0, value=momentum),
    )
    solver = GromovWasserstein(
        linear,
        epsilon=epsilon / (2 * alpha),
        warm_start=True,
        min_iterations=1,
        max_iterations=200,
        threshold=threshold,
    )

    def plan_of(node: Any, edges_a: Any, edges_b: Any) -> Any:
        penalty = (1 - alpha) / (2 * alpha)
        graphs = Geometry(edges_a), Geometry(edges_b), Geometry(node)
        return solver(QuadraticProblem(*graphs, fused_penalty=penalty)).matrix

    def value_of(x: Any, y: Any) -> Any:
        x, y = (v / jax.numpy.linalg.norm(v, axis=2, keepdims=True) for v in (x, y))
        costs = tuple(1 - a @ b.mT for a, b in ((x, y), (x, x), (y, y)))
        plan = jax.lax.stop_gradient(jax.vmap(plan_of)(*jax.lax.stop_gradient(costs)))
        return _held_value(*costs, plan, alpha)

    return jax.jit(jax.vmap(plan_of)), jax.jit(jax.value_and_grad(value_of, argnums=(0, 1)))
