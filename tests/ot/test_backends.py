"""Which backend solves, and what is said when it is not the one asked for."""

import logging
import sys

import pytest
import torch

from gmot.ot import kernels, sinkhorn

COST = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def forget():
    """Installed packages and logged replacements."""
    kernels._not_installed.cache_clear()
    kernels._replaced.cache_clear()
    yield
    kernels._not_installed.cache_clear()


@pytest.mark.parametrize(
    "backend, package", [("cpu", "numba"), ("cuda", "triton"), ("geomloss", "geomloss")]
)
def test_a_missing_package_is_a_warning_and_torch_solves(backend, package, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    with caplog.at_level(logging.INFO, logger="gmot.ot"):
        plans = [sinkhorn(COST, backend=backend).plan for _ in range(2)]
    assert torch.equal(plans[0], sinkhorn(COST, backend="torch").plan)
    (record,) = caplog.records  # once
    assert record.levelname == "WARNING"
    assert all(fact in record.getMessage() for fact in (backend, package, "torch"))


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
    assert all(fact in caplog.text for fact in ("cpu", "torch", "unrolled"))


def test_the_kernel_of_the_device_is_taken(monkeypatch):
    pytest.importorskip("numba")
    from gmot.ot.kernels import cpu

    asked = []
    monkeypatch.setattr(
        cpu, "solve", lambda *case, solve=cpu.solve: asked.append(1) or solve(*case)
    )
    sinkhorn(COST)
    assert asked == [1]
