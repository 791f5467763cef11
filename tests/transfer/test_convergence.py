"""Plans in training against converged plans, for every system (benchmarks/convergence.py)."""

import importlib

import pytest

from benchmarks.convergence import BOUND, distinct_solves, worst_distance

BACKENDS = [
    name
    for name, package in (("torch", "torch"), ("cpu", "numba"), ("geomloss", "geomloss"))
    if importlib.util.find_spec(package)
]
SOLVES = distinct_solves()


@pytest.mark.parametrize("systems", SOLVES)
def test_plans_of_training_have_converged(systems):
    """Review A3: TOT's rows were 0.1 to 0.7 (L1) from their converged plans."""
    settings = SOLVES[systems]
    assert max(worst_distance(settings, 112, 16, BACKENDS)) < BOUND
    assert max(worst_distance(settings, 400, 60, BACKENDS[:2], ["speech-like"])) < BOUND
