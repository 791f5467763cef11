"""A kernel compiled by numba: one utterance a thread, everything of it in the cache."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from gmot.ot.operators import KERNELS, DenseOperator, FactoredOperator, Operator
from gmot.ot.task import Solution, Task


def missing(task: Task) -> Optional[str]:
    """None, or why it cannot solve ``task`` here."""
    if task.node_cost.device.type != "cpu":
        return f"it has no solver on {task.node_cost.device.type}"
    return None


def solve(task: Task) -> Solution:
    """Each item by itself: what it comes to depends neither on its batch nor on the threads.

    It looks at the marginal error in every iteration, where it costs nothing.
    """
    cost, a, b = (_array(x) for x in (task.node_cost, task.weights_a, task.weights_b))
    ends_a, ends_b = _ends(a), _ends(b)
    plan, error = np.zeros_like(cost), np.zeros(len(cost), cost.dtype)
    iterations = np.zeros(len(cost), np.int64)
    gain = 0.0
    if task.alpha > 0:
        gain = task.edges_a.sign * task.edges_b.sign * 4 * task.alpha / task.epsilon
    unit = 1 / math.log(2)
    options = (
        (task.alpha - 1) / task.epsilon * unit,
        gain * unit,
        float(task.power_a),
        float(task.power_b),
        int(task.max_outer),
        int(task.max_inner),
        float(task.tolerance),
        float(task.marginal_tolerance),
        bool(task.proximal),
    )
    start = np.zeros_like(b) if task.psi is None else _array(task.psi) * cost.dtype.type(unit)
    work = ends_a**2 * ends_b
    arguments = (
        np.argsort(-work, kind="stable")[: np.count_nonzero(work)],  # the longest first
        np.zeros(1, np.int64),
        (cost, a, b, start, ends_a, ends_b),
        _edges(task.edges_a, cost),
        _edges(task.edges_b, cost),
        options,
        (plan, error, iterations),
    )
    others = min(torch.get_num_threads(), len(cost)) - 1
    kernel = _kernel()
    if others < 1:
        kernel(*arguments)
    else:
        pool = _pool(os.getpid(), others)
        running = [pool.submit(kernel, *arguments) for _ in range(others)]
        kernel(*arguments)
        for future in running:
            future.result()
    return Solution(*(torch.from_numpy(x) for x in (plan, error, iterations)))


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def _ends(weights: np.ndarray) -> np.ndarray:
    """(N,) one more than the last position with weight."""
    size = weights.shape[1]
    return np.where((weights > 0).any(1), size - (weights[:, ::-1] > 0).argmax(1), 0)


def _edges(operator: Optional[Operator], cost: np.ndarray) -> Tuple[int, np.ndarray, np.ndarray]:
    """Kind, matrices (N, ., .) and steps (N,) in the kernel's terms."""
    from gmot.ot.backends import cpu_kernel

    kind, count = cpu_kernel.NONE, len(cost)
    matrix, steps = np.zeros((count, 1, 1), cost.dtype), np.ones(count)
    if isinstance(operator, DenseOperator):
        kind, matrix = cpu_kernel.DENSE, _array(operator.matrix)
    elif isinstance(operator, FactoredOperator):
        kind, matrix = cpu_kernel.FACTORED, _array(operator.factor)
    elif operator is not None:
        kind = cpu_kernel.TEMPORAL + KERNELS.index(operator.kernel)
        steps = _array(operator.steps).astype(np.float64)
    return kind, matrix, steps


@cache
def _kernel() -> Any:
    """The solver, compiled at its first call: from the disk if it is there, and onto it."""
    from gmot.ot.backends import cpu_kernel, cpu_products, cpu_sinkhorn

    # numba looks at the age of the entry's own file; a change of the others must count too.
    sources = "".join(
        Path(module.__file__).read_text(encoding="utf-8") for module in (cpu_products, cpu_sinkhorn)
    )
    try:
        return cpu_kernel.make_solver(True, sources)
    except RuntimeError:  # no folder can be written
        return cpu_kernel.make_solver(False, sources)


@lru_cache(maxsize=1)
def _pool(process: int, size: int) -> ThreadPoolExecutor:
    """Threads do not survive a fork: a new process has its own."""
    return ThreadPoolExecutor(size, thread_name_prefix="gmot-ot")
