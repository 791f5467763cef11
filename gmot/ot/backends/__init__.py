"""The places where a task can be solved, behind one call.

"torch": the reference, on any device, and the only one that can be unrolled. "cpu": a kernel
compiled by numba that solves an utterance per thread. "cuda": a kernel of Triton, one launch a
batch. "geomloss": GeomLoss's own solver for the inner problems. "auto": the kernel of the device
if it is there, else "torch". What cannot be had is replaced by "torch", and the log says why; so is
"cuda" where its comparison with "torch" failed (:mod:`gmot.ot.backends.verification`).
"""

import importlib
import logging
from dataclasses import replace
from functools import cache
from typing import Any, Optional

import torch

from gmot.ot import unbalanced
from gmot.ot.backends import verification
from gmot.ot.backends.newton import newton_start
from gmot.ot.implicit import implicit_plan
from gmot.ot.problem import Problem, check_choice
from gmot.ot.task import Solution, Task
from gmot.ot.unbalanced import Settings

_MODULES = {
    "torch": "gmot.ot.backends.reference",
    "cpu": "gmot.ot.backends.cpu",
    "cuda": "gmot.ot.backends.cuda",
    "geomloss": "gmot.ot.backends.geomloss",
}
# What a backend imports beside torch.
_NEEDS = {"cpu": "numba", "cuda": "triton", "geomloss": "geomloss"}
BACKENDS = ("auto", *_MODULES)
PLAN_GRADIENTS = ("detach", "unroll", "implicit")


def solve_problem(
    problem: Problem, backend: str, plan_gradient: str, newton_steps: int = 0, **options: Any
) -> Solution:
    """Solve ``problem``; ``options`` are the other fields of Task.

    ``newton_steps``: see :mod:`gmot.ot.backends.newton`; transport without edges only.

    Raises:
      ValueError: an unknown backend.
    """
    check_choice(backend, "backend", BACKENDS)
    unroll = plan_gradient == "unroll" and torch.is_grad_enabled()
    with torch.set_grad_enabled(unroll):
        edges = [None, None]
        if options["alpha"] > 0:
            edges = [e.operator() for e in (problem.edges_a, problem.edges_b)]
        node_cost = problem.node_cost if unroll else problem.node_cost.detach()
        task = Task(node_cost, problem.weights_a, problem.weights_b, *edges, **options)
        if newton_steps > 0:
            task = replace(task, psi=newton_start(task, newton_steps))
        solution = _module(backend, task, unroll).solve(task)
    if plan_gradient == "implicit":
        solution = solution._replace(plan=implicit_plan(problem, task, solution.plan))
    return solution


def solve_unbalanced(
    problem: Problem, backend: str, plan_gradient: str, settings: Settings
) -> Solution:
    """Solve unbalanced fused Gromov-Wasserstein, in torch whatever the backend.

    Raises:
      ValueError: an unknown backend.
    """
    check_choice(backend, "backend", BACKENDS)
    if backend not in ("auto", "torch"):
        reason = "it has no unbalanced transport with edges"
        _log_once(logging.WARNING, f"backend {backend}: {reason}; torch solves instead")
    unroll = plan_gradient == "unroll" and torch.is_grad_enabled()
    with torch.set_grad_enabled(unroll):
        return unbalanced.solve(problem, settings)


def _module(backend: str, task: Task, unroll: bool) -> Any:
    reason: Optional[str] = None
    automatic = backend == "auto"
    if automatic:
        kernel = task.node_cost.device.type
        backend = kernel if kernel in _MODULES and not unroll else "torch"
    elif unroll and backend != "torch":
        reason = "only torch can be unrolled"
    reason = reason or unavailable(backend, task)
    # Asked for by name, its absence is worth a warning.
    level = logging.INFO if automatic else logging.WARNING
    if not reason and backend == "cuda":
        reason, level = verification.refusal(task.node_cost.device), logging.WARNING
    if reason:
        _log_once(level, f"backend {backend}: {reason}; torch solves instead")
        backend = "torch"
    return importlib.import_module(_MODULES[backend])


def unavailable(backend: str, task: Task) -> Optional[str]:
    """None, or why ``backend`` cannot solve ``task`` here: a package, a device, a size."""
    absent = _absent(_NEEDS.get(backend))
    return absent or importlib.import_module(_MODULES[backend]).missing(task)


@cache
def _absent(package: Optional[str]) -> Optional[str]:
    try:
        importlib.import_module(package or "torch")
    except ImportError:
        return f"{package} is not installed"
    return None


@cache
def _log_once(level: int, message: str) -> None:
    logging.getLogger("gmot.ot").log(level, message)
