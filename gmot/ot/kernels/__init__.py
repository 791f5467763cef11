"""Backends of the solvers.

"torch": the reference :mod:`gmot.ot.solver`, on any device; the only one that can be unrolled.
"cpu": compiled by numba, one utterance per thread. "cuda": a Triton kernel, one launch per batch.
"geomloss": GeomLoss's solver for the inner problems, for comparison. "auto": the kernel of the
device if it is installed, else "torch". Where a backend cannot solve a problem, "torch" does, and
the log says why; also where the Triton kernel failed its comparison with "torch"
(:mod:`gmot.ot.kernels.verification`). Unbalanced problems with edges: :mod:`gmot.ot.unbalanced`.
"""

import importlib
import logging
from functools import cache
from typing import Any

import torch

from gmot.ot import unbalanced
from gmot.ot.implicit import implicit_plan
from gmot.ot.kernels import verification
from gmot.ot.newton import newton_start
from gmot.ot.precision import no_autocast
from gmot.ot.problem import Problem, Settings, check_choice
from gmot.ot.result import Solution

_MODULES = {
    "torch": "gmot.ot.solver",
    "cpu": "gmot.ot.kernels.cpu",
    "cuda": "gmot.ot.kernels.cuda",
    "geomloss": "gmot.ot.kernels.geomloss",
}
_PACKAGES = {"cpu": "numba", "cuda": "triton", "geomloss": "geomloss"}
BACKENDS = ("auto", *_MODULES)


def solve(
    problem: Problem,
    settings: Settings,
    backend: str = "auto",
    plan_gradient: str = "detach",
    newton_steps: int = 0,
) -> Solution:
    """Plan of a problem by one of the backends; ``newton_steps``: without edges only.

    Raises:
      ValueError: unknown backend.
    """
    check_choice(backend, "backend", BACKENDS)
    unroll = plan_gradient == "unroll" and torch.is_grad_enabled()
    with no_autocast(problem.node_cost.device):
        with torch.set_grad_enabled(unroll):
            if problem.edges_a is not None and not settings.is_balanced:
                if backend not in ("auto", "torch"):
                    _replaced(backend, "it has no unbalanced transport with edges", logging.WARNING)
                return unbalanced.solve(problem, settings)
            prepared = problem.prepared(settings.edge_weight > 0, unroll)
            psi = newton_start(prepared, settings, newton_steps) if newton_steps > 0 else None
            solution = _choose(backend, prepared, settings, unroll).solve(prepared, settings, psi)
        if plan_gradient == "implicit":
            solution = solution._replace(plan=implicit_plan(problem, settings, solution.plan))
    return solution


def _choose(backend: str, problem: Problem, settings: Settings, unroll: bool) -> Any:
    """Module of the backend, or of "torch" where that is unavailable."""
    level, device = logging.WARNING, problem.node_cost.device.type
    if backend == "auto":
        level, backend = logging.INFO, device if device in _MODULES and not unroll else "torch"
    reason = unavailable(backend, problem, settings)
    if unroll and backend != "torch":
        reason = "only torch can be unrolled"
    if not reason and backend == "cuda":
        reason, level = verification.refusal(problem.node_cost.device), logging.WARNING
    if reason:
        _replaced(backend, reason, level)
        backend = "torch"
    return importlib.import_module(_MODULES[backend])


def unavailable(backend: str, problem: Problem, settings: Settings) -> str | None:
    """Reason why ``backend`` cannot solve a problem here (package, device, size), or None."""
    if backend == "torch":
        return None
    reason = _not_installed(_PACKAGES[backend])
    return reason or importlib.import_module(_MODULES[backend]).missing(problem, settings)


@cache
def _not_installed(package: str) -> str | None:
    try:
        importlib.import_module(package)
    except ImportError:
        return f"{package} is not installed"
    return None


@cache
def _replaced(backend: str, reason: str, level: int) -> None:
    """Logged once."""
    logging.getLogger("gmot.ot").log(level, f"backend {backend}: {reason}; torch solves instead")
