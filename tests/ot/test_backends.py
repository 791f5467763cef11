"""Which backend solves, and what is said when it is not the one asked for."""

import logging
import sys

import pytest
import torch

from gmot.ot import backends, sinkhorn

COST = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def forget():
    """What was found absent and said before."""
    backends._absent.cache_clear()
    backends._log_once.cache_clear()
    yield
    backends._absent.cache_clear()


@pytest.mark.parametrize(
    "backend, package", [("cpu", "numba"), ("cuda", "triton"), ("geomloss", "geomloss")]
)
def test_a_missing_package_is_a_warning_and_torch_solves(backend, package, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    with caplog.at_level(logging.INFO, logger="gmot.ot"):
        plans = [sinkhorn(COST, backend=backend).plan for _ in range(2)]
    assert torch.equal(plans[0], sinkhorn(COST, backend="torch").plan)
    said = [(r.levelname, r.getMessage()) for r in caplog.records]
    expected = f"backend {backend}: {package} is not installed; torch solves instead"
    assert said == [("WARNING", expected)]  # once


def test_left_to_itself_it_says_so_quietly(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "numba", None)
    with caplog.at_level(logging.INFO, logger="gmot.ot"):
        sinkhorn(COST)
    assert [r.levelname for r in caplog.records] == ["INFO"]


def test_only_the_reference_can_be_unrolled(caplog):
    cost = COST.clone().requires_grad_()
    with caplog.at_level(logging.INFO, logger="gmot.ot"):
        plan = sinkhorn(cost, plan_gradient="unroll", backend="cpu").plan
    assert plan.requires_grad
    assert "only torch can be unrolled" in caplog.text


def test_the_kernel_of_the_device_is_taken(monkeypatch):
    pytest.importorskip("numba")
    from gmot.ot.backends import cpu

    asked = []
    monkeypatch.setattr(cpu, "solve", lambda task, solve=cpu.solve: asked.append(1) or solve(task))
    sinkhorn(COST)
    assert asked == [1]
