"""Comparison of a kernel with ``torch`` in a process of its own, started by ``verification``.

It prints a line of JSON before and after each step that may end the process.
"""

import importlib
import json
from collections.abc import Sequence
from typing import Any

import torch

from gmot.ot import solver as reference
from gmot.ot.edges import CosineEdges
from gmot.ot.problem import Problem, Settings, make_problem
from gmot.ot.result import Solution

FINISHED = "finished"  # the last step
# L1 distance of plans of mass 1. Converged plans in float32 are within about 1e-4.
MAX_DIFFERENCE = 1e-3

_BASE = {"proximal": False, "max_inner": 100, "tolerance": 1e-5, "marginal_tolerance": 1e-5}
_PROXIMAL = {**_BASE, "edge_weight": 0.3, "epsilon": 0.5, "proximal": True, "max_outer": 3}
_GRADIENT = {**_BASE, "edge_weight": 0.5, "epsilon": 0.3, "max_outer": 40}
_SINKHORN = {**_BASE, "edge_weight": 0.0, "epsilon": 0.2, "max_outer": 1, "max_inner": 200}
# With and without edges, each outer loop, exact and relaxed marginals; every block width (16 to 128
# columns), full and partial blocks, one node. Name: (T, L) of each item, fields of Settings.
COMPARED: dict[str, tuple[list[tuple[int, int]], dict[str, Any]]] = {
    "proximal steps": ([(131, 40), (64, 64), (1, 1)], _PROXIMAL),
    "projected gradient": ([(70, 11), (33, 16), (9, 1)], _GRADIENT),
    "proximal steps without edges": ([(100, 30), (17, 32)], {**_PROXIMAL, "edge_weight": 0.0}),
    "balanced Sinkhorn": ([(150, 128), (32, 65)], _SINKHORN),
    "unbalanced Sinkhorn": ([(120, 21), (40, 9)], {**_SINKHORN, "reach_a": 0.5, "reach_b": 2.0}),
}


def make_case(
    sizes: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype, **options: Any
) -> tuple[Problem, Settings]:
    """Batch of random features, the same in every process, of (T, L) and fields of Settings."""
    generator = torch.Generator().manual_seed(0)
    lengths = [list(n) for n in zip(*sizes)]
    x, y = (
        torch.nn.functional.normalize(
            torch.randn(len(sizes), max(n), 8, generator=generator), dim=2
        ).to(device, dtype)
        for n in lengths
    )
    settings = Settings(**options)
    edges = CosineEdges(x), CosineEdges(y)
    problem = make_problem(1 - x @ y.transpose(1, 2), *edges, None, None, lengths[0], lengths[1])
    return problem.prepared(settings.edge_weight > 0, with_gradient=False), settings


def difference(found: Solution, expected: Solution) -> float:
    """Largest L1 distance of an item's plans; infinite where something is not finite."""
    if not all(bool(torch.isfinite(x).all()) for x in (found.plan, found.error)):
        return float("inf")
    return float((found.plan - expected.plan).abs().sum((1, 2)).max())


def main(request: dict[str, str]) -> None:
    """``request``: kernel (name of a module), device."""

    def say(step: str, **values: Any) -> None:
        print(json.dumps({"step": step, **values}), flush=True)

    torch.set_grad_enabled(False)
    device = torch.device(request["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    expected = {
        name: reference.solve(*make_case(items, device, torch.float64, **options))
        for name, (items, options) in COMPARED.items()
    }
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    say("the start", card=card)  # failures from here on are the kernel's
    solve = importlib.import_module(request["kernel"]).solve
    for name, (items, options) in COMPARED.items():
        say(name)
        found = solve(*make_case(items, device, torch.float32, **options))
        say(name, difference=difference(found, expected[name]))
    say(FINISHED)
