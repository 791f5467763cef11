"""Backend compiled by numba: one utterance per thread, all of it in the processor's cache."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmot.ot.edges import Edges, TemporalEdges
from gmot.ot.problem import Problem, Settings, ends
from gmot.ot.result import Solution
from gmot.ot.solver import edge_gain


def missing(problem: Problem, settings: Settings) -> str | None:
    """Reason why the backend cannot solve ``problem`` here, or None."""
    if problem.node_cost.device.type != "cpu":
        return f"it has no solver on {problem.node_cost.device.type}"
    return None


def solve(problem: Problem, settings: Settings, psi: Tensor | None = None) -> Solution:
    """See :func:`gmot.ot.solver.solve`. Results depend neither on the batch nor on the threads.

    The marginal error is checked in every iteration, where it is free.
    """
    cost, a, b = (_array(x) for x in (problem.node_cost, problem.marginal_a, problem.marginal_b))
    ends_a, ends_b = ends(problem.marginal_a).numpy(), ends(problem.marginal_b).numpy()
    plan, error = np.zeros_like(cost), np.zeros(len(cost), cost.dtype)
    iterations = np.zeros(len(cost), np.int64)
    unit = 1 / math.log(2)  # exponents are in powers of two
    start = np.zeros_like(b) if psi is None else _array(psi) * b.dtype.type(unit)
    options = (
        (settings.edge_weight - 1) / settings.epsilon * unit,
        edge_gain(problem, settings) * unit,
        *(float(power) for power in settings.powers),
        int(settings.max_outer),
        int(settings.max_inner),
        float(settings.tolerance),
        float(settings.marginal_tolerance),
        bool(settings.proximal),
    )
    work = ends_a**2 * ends_b
    arguments: Any = (
        np.argsort(-work, kind="stable")[: np.count_nonzero(work)],  # the longest first
        np.zeros(1, np.int64),
        (cost, a, b, start, ends_a, ends_b),
        _edges(problem.edges_a, cost),
        _edges(problem.edges_b, cost),
        options,
        (plan, error, iterations),
    )
    others = min(torch.get_num_threads(), len(cost)) - 1
    kernel = _kernel()
    running = [_pool(os.getpid(), others).submit(kernel, *arguments) for _ in range(others)]
    kernel(*arguments)
    for future in running:
        future.result()
    return Solution(*(torch.from_numpy(x) for x in (plan, error, iterations)))


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def _edges(edges: Edges | None, cost: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Kind, matrices (N, ., .) and steps (N,) as the kernel takes them."""
    from gmot.ot.kernels import cpu_kernel

    matrix, steps = np.zeros((len(cost), 1, 1), cost.dtype), np.ones(len(cost))
    if edges is None:
        return cpu_kernel.NONE, matrix, steps
    if isinstance(edges, TemporalEdges):
        return cpu_kernel.TEMPORAL, matrix, _array(edges.values).astype(np.float64)
    if edges.matrix is not None:
        return cpu_kernel.DENSE, _array(edges.matrix), steps
    return cpu_kernel.FACTORED, _array(edges.values), steps


@cache
def _kernel() -> Any:
    """Compiled solver, cached on disk."""
    from gmot.ot.kernels import cpu_kernel, cpu_products, cpu_sinkhorn

    # numba checks the age of the entry's own file alone; changes of the others must count too.
    files = (str(module.__file__) for module in (cpu_products, cpu_sinkhorn))
    sources = "".join(Path(file).read_text(encoding="utf-8") for file in files)
    try:
        return cpu_kernel.make_solver(True, sources)
    except RuntimeError:  # no writable folder
        return cpu_kernel.make_solver(False, sources)


@lru_cache(maxsize=1)
def _pool(process: int, size: int) -> ThreadPoolExecutor:
    """One pool per process: threads do not survive a fork."""
    return ThreadPoolExecutor(size, thread_name_prefix="gmot-ot")
