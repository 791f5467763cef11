"""The competitors: what each minimises, its settings, and whether it can be used here."""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from adapters import Calls, gmot, ott, pot_batch, pot_exact, pot_loop, pot_loop_torch
from problems import Problem

ENTROPIC = "F_eps"
PROXIMAL = "F, proximal steps"
EXACT = "F, exact"


@dataclass(frozen=True)
class Solver:
    """A competitor.

    Attributes:
      name: on the command line and in the tables.
      objective: what it minimises.
      prepare: Calls for a problem and a setting.
      settings: of each epsilon, from fast to careful: the first that is exact enough is timed.
      note: one sentence on how it is used.
      missing: a phrase why it cannot be used here, or None.
      compiles: its first call on a problem is slower than the others.
    """

    name: str
    objective: str
    prepare: Callable[[Problem, Any], Calls]
    settings: dict[float, Sequence[Any]]
    note: str
    missing: Callable[[], str | None]
    compiles: bool = False


def _gmot_missing(backend: str) -> Callable[[], str | None]:
    """gmot solves with torch where a backend cannot be had, and says so in its log."""

    def missing() -> str | None:
        from gmot.ot import fused_gromov_wasserstein

        if backend != "torch" and not importlib.util.find_spec(f"gmot.ot.kernels.{backend}"):
            return "gmot has no such backend"
        said = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: said.append(record.getMessage())
        logger = logging.getLogger("gmot.ot")
        logger.addHandler(handler)
        try:
            fused_gromov_wasserstein(*(torch.ones(1, 2, 2),) * 3, backend=backend)
        except ValueError as error:
            said.append(str(error))
        finally:
            logger.removeHandler(handler)
        return said[0] if said else None

    return missing


def _options(*names: str) -> Callable[..., dict[str, Any]]:
    return lambda *values: dict(zip(names, values))


def _installed(module: str) -> Callable[[], str | None]:
    return lambda: None if importlib.util.find_spec(module) else f"{module} is not installed"


_G = _options("tolerance", "marginal_tolerance", "max_inner", "max_outer")
_P = _options("max_iter", "tol", "numItermax", "stopThr")
_GMOT = {
    0.3: [_G(3e-3, 1e-5, 20, 100), _G(1e-3, 1e-6, 20, 100)],
    0.05: [_G(t, 1e-5, 20, 300) for t in (3e-3, 1e-3, 3e-4, 1e-4, 1e-5)],
    0.01: [_G(1e-5, 1e-5, 50, 300)],
}
_GEOMLOSS = {
    0.3: [_G(1e-5, 1e-5, 20, 30)],
    0.05: [_G(1e-5, 1e-5, 300, 30)],
}  # 0.01 takes minutes
_POT = {
    0.3: [_P(3, 1e-9, 20, 1e-5), _P(6, 1e-9, 20, 1e-5)],
    0.05: [_P(11, 1e-4, 200, 1e-5), _P(21, 1e-5, 1000, 1e-5), _P(21, 1e-5, 3000, 1e-5)],
    0.01: [_P(31, 1e-5, 500, 1e-5)],
}
_OTT = {
    0.3: [(0.0, 2, 2, 1.0, 1e-5)],
    0.05: [
        (0.0, 8, 8, 1.6, 2e-5),
        (0.0, 10, 10, 1.6, 1e-5),
        (0.0, 20, 20, 1.8, 1e-6),
        (3e-5, 10, 3000, 1.0, 1e-6),
    ],
    0.01: [(0.0, 20, 20, 1.6, 1e-6)],
}
# Thousands of unrolled iterations take minutes: only the fastest settings, and no 0.01.
_POT_TORCH = {epsilon: _POT[epsilon][:1] for epsilon in (0.3, 0.05)}
_NONE = {0.3: [None], 0.05: [None], 0.01: [None]}

EPSILONS = tuple(_NONE)
SOLVERS = (
    Solver(
        "gmot cpu",
        ENTROPIC,
        gmot("cpu"),
        _GMOT,
        "numba kernel, an item a thread; costs by CosineEdges",
        _gmot_missing("cpu"),
        compiles=True,
    ),
    Solver(
        "gmot torch",
        ENTROPIC,
        gmot("torch"),
        _GMOT,
        "plain torch, the reference; otherwise as gmot cpu",
        _gmot_missing("torch"),
    ),
    Solver(
        "gmot geomloss",
        ENTROPIC,
        gmot("geomloss"),
        _GEOMLOSS,
        "GeomLoss's symmetrised log-domain Sinkhorn as the inner solver of gmot's outer loop",
        _gmot_missing("geomloss"),
    ),
    Solver(
        "OTT-JAX",
        ENTROPIC,
        ott,
        _OTT,
        "GromovWasserstein under vmap and jit, log domain, warm start, over-relaxed (momentum); "
        "gradient by value_and_grad of F_eps with the plan held (stop_gradient), costs in jax; "
        "setting: inner tolerance, iterations between its tests, at most, momentum, outer rtol",
        _installed("ott"),
        compiles=True,
    ),
    Solver(
        "POT loop",
        ENTROPIC,
        pot_loop,
        _POT,
        "entropic_fused_gromov_wasserstein (PGD) an item after the other, numpy float64; gradient "
        "with the plan held, written by hand in torch, which is faster than POT's own",
        _installed("ot"),
    ),
    Solver(
        "POT loop torch",
        ENTROPIC,
        pot_loop_torch,
        _POT_TORCH,
        "the same on torch float64 tensors; POT's own gradient, of F through all steps",
        _installed("ot"),
    ),
    Solver(
        "POT batch",
        PROXIMAL,
        pot_batch,
        _NONE,
        "ot.batch.solve_gromov_batch with its defaults, float32, envelope gradient; "
        "epsilon is the step size of a proximal method, so this is another objective",
        _installed("ot"),
    ),
    Solver(
        "POT exact",
        EXACT,
        pot_exact,
        _NONE,
        "fused_gromov_wasserstein (conditional gradient, exact transport in C++), numpy float64; "
        "its own envelope gradient; no entropy, so this is another objective",
        _installed("ot"),
    ),
)
