"""Comparison of a kernel with ``torch``: the process that ``verification`` starts.

One request is read from stdin and answered by lines of JSON, each written before or after a step
that may end the process.
"""

import importlib
import json
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch
from torch import Tensor

from gmot.ot.backends import reference
from gmot.ot.edges import CosineEdges
from gmot.ot.problem import make_problem
from gmot.ot.task import Solution, Task

# L1 distance of plans of mass 1. Converged plans in float32 are within about 1e-4.
MAX_DIFFERENCE = 1e-3

_CONVERGED = {"tolerance": 1e-5, "marginal_tolerance": 1e-5}
_PROXIMAL = {"alpha": 0.3, "epsilon": 0.5, "proximal": True, "max_outer": 3, "max_inner": 100}
_GRADIENT = {"alpha": 0.5, "epsilon": 0.3, "proximal": False, "max_outer": 40, "max_inner": 100}
_SINKHORN = {"alpha": 0.0, "epsilon": 0.2, "proximal": False, "max_outer": 1, "max_inner": 200}
# Edges or none, each outer loop, exact and relaxed marginals; every width of a block (16 to 128
# columns), full and partial blocks, one node. Name: (T, L) of each item, fields of Task.
_COMPARED: Dict[str, Tuple[List[Tuple[int, int]], Dict[str, Any]]] = {
    "proximal steps": ([(131, 40), (64, 64), (1, 1)], _PROXIMAL),
    "projected gradient": ([(70, 11), (33, 16), (9, 1)], _GRADIENT),
    "proximal steps without edges": ([(100, 30), (17, 32)], {**_PROXIMAL, "alpha": 0.0}),
    "balanced Sinkhorn": ([(150, 128), (32, 65)], _SINKHORN),
    "unbalanced Sinkhorn": ([(120, 21), (40, 9)], {**_SINKHORN, "power_a": 0.7, "power_b": 0.9}),
}
# GM-OT's setting, which is timed.
TIMED = {"alpha": 0.01, "epsilon": 0.5, "proximal": True, "max_outer": 10, "max_inner": 10}


def make_task(
    sizes: Sequence[Tuple[int, int]], device: torch.device, dtype: torch.dtype, **options: Any
) -> Task:
    """A batch of random features, the same in every process.

    Args:
      sizes: (T, L) of each item.
      options: fields of Task.
    """
    generator = torch.Generator().manual_seed(0)
    rows, columns = (max(n) for n in zip(*sizes))
    nodes = [
        torch.nn.functional.normalize(torch.randn(len(sizes), n, 8, generator=generator), dim=2)
        for n in (rows, columns)
    ]
    x, y = (n.to(device, dtype) for n in nodes)
    edges = (CosineEdges(x), CosineEdges(y)) if options["alpha"] > 0 else (None, None)
    lengths = ([n for n, _ in sizes], [n for _, n in sizes])
    cost = 1 - x @ y.transpose(1, 2)
    problem = make_problem(cost, *edges, lengths_a=lengths[0], lengths_b=lengths[1])
    operators = [e and e.operator() for e in (problem.edges_a, problem.edges_b)]
    weights = problem.weights_a, problem.weights_b
    return Task(problem.node_cost, *weights, *operators, **{**_CONVERGED, **options})


def difference(found: Solution, expected: Solution) -> float:
    """The largest L1 distance of an item's plans; infinite where something is not finite."""
    for values in (found.plan, found.error):
        if not bool(torch.isfinite(values).all()):
            return float("inf")
    return float((found.plan - expected.plan).abs().sum((1, 2)).max())


def milliseconds(solve: Callable[[Task], Solution], task: Task) -> float:
    """The least time of ten solves, or of as many as a second allows, after one that compiles."""
    times: List[float] = []
    solve(task)
    while not times or (len(times) < 10 and sum(times) < 1):
        _wait(task.node_cost)
        started = time.perf_counter()
        _wait(solve(task).plan)
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def run(kernel: str, device: torch.device, sizes: Sequence[Tuple[int, int, int]]) -> None:
    """Compare, then time ``sizes``, (N, T, L) each."""

    def say(**values: Any) -> None:
        print(json.dumps(values), flush=True)

    expected = {
        name: reference.solve(make_task(items, device, torch.float64, **options))
        for name, (items, options) in _COMPARED.items()
    }
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    say(ready=True, card=card)  # what fails from here on is the kernel
    solve = importlib.import_module(kernel).solve
    for name, (items, options) in _COMPARED.items():
        say(problem=name)
        found = solve(make_task(items, device, torch.float32, **options))
        say(problem=name, difference=difference(found, expected[name]))
    for count, rows, columns in sizes:
        task = make_task([(rows, columns)] * count, device, torch.float32, **TIMED)
        times = {"kernel": milliseconds(solve, task), "torch": milliseconds(reference.solve, task)}
        say(size=[count, rows, columns], **times)
    say(finished=True)


def main(request: Dict[str, Any]) -> None:
    """``request``: kernel (name of a module), device, sizes."""
    torch.set_grad_enabled(False)
    device = torch.device(request["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    run(request["kernel"], device, request["sizes"])
