"""The compiled kernel against plain float64 loops, and against itself in other company."""

import dataclasses
import os

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot.ot.operators import KERNELS, DenseOperator, FactoredOperator, TemporalOperator
from gmot.ot.task import Task

pytest.importorskip("numba")

from gmot.ot.backends import cpu  # noqa: E402

# More than a line of the cache, tiles of every height, one of each.
SIZES = [(37, 14), (9, 4), (18, 25), (5, 6), (1, 3), (4, 1), (1, 1)]
EXACT = {"tolerance": 1e-13, "max_outer": 1000, "max_inner": 2000}
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}


def problems(seed=0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    return [gromov.random_problem(rng, *size) for size in sizes]


def make_task(found, dtype=torch.float64, **options):
    cost, edges_a, edges_b, a, b = (
        torch.from_numpy(gromov.pad([p[k] for p in found])).to(dtype) for k in range(5)
    )
    edges = DenseOperator(1.0, edges_a), DenseOperator(1.0, edges_b)
    options = {"alpha": 0.5, "epsilon": 0.05, "proximal": False, **EXACT, **options}
    options.setdefault("marginal_tolerance", options["tolerance"])
    return Task(cost, a, b, *edges, **options)


def plans(solution, found):
    """The items' plans without padding, float64; what is padding must be zero."""
    result = []
    for item, (cost, *_) in enumerate(found):
        plan, (rows, columns) = solution.plan[item].double().numpy(), cost.shape
        assert not plan[rows:].any() and not plan[:, columns:].any()
        result.append(plan[:rows, :columns])
    return result


def settings(dtype):
    return EXACT if dtype == torch.float64 else {**EXACT, "tolerance": 1e-6}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("alpha, steps", [(0.0, 2), (0.5, 500), (1.0, 4)])
def test_cpu_projected_gradient(alpha, steps, dtype):
    found = problems()
    options = {**settings(dtype), "max_outer": steps, "max_inner": 20000}
    solution = cpu.solve(make_task(found, dtype, alpha=alpha, **options))
    assert solution.plan.dtype == dtype and solution.plan.is_contiguous()
    for plan, (cost, edges_a, edges_b, a, b) in zip(plans(solution, found), found):
        expected = gromov.projected_gradient(cost, edges_a, edges_b, a, b, alpha, 0.05, steps)
        assert np.abs(plan - expected).sum() < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_cpu_proximal(dtype):
    """Six steps, each an exact transport."""
    found, steps = problems(1), 6
    # The paper linearises without the factor 2: (1 - alpha) M + alpha D (x) P, here of 0.5 each.
    options = {"alpha": 1 / 3, "epsilon": 0.2 / 0.75, "max_outer": steps, "max_inner": 5000}
    options["proximal"] = True
    task = make_task(found, dtype, **options, tolerance=1e-13 if dtype == torch.float64 else 1e-7)
    for plan, problem in zip(plans(cpu.solve(task), found), found):
        expected = gromov.gm_ot(*problem, 0.5, 0.2, steps)[-1]
        assert np.abs(plan - expected).sum() < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("reach", [(0.5, 1.0), (None, 0.2), (0.05, 0.05)])
def test_cpu_unbalanced(reach, dtype):
    found, epsilon = problems(2), 0.05
    power_a, power_b = (1.0 if r is None else r / (r + epsilon) for r in reach)
    options = {"alpha": 0.0, "max_outer": 1, "power_a": power_a, "power_b": power_b}
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    task = make_task(found, dtype, **options, max_inner=5000, tolerance=tolerance)
    solution = cpu.solve(task)
    far = [1e12 if r is None else r for r in reach]
    for plan, (cost, _, _, a, b) in zip(plans(solution, found), found):
        expected = gromov.unbalanced(cost, a, b, epsilon, *far)
        assert np.abs(plan - expected).sum() < TOLERANCES[dtype]
    assert (solution.error < 20 * TOLERANCES[dtype]).all()


def test_cpu_iterations_are_those_of_the_definition():
    """Few iterations of one transport, then few outer steps: no other fixed point helps."""
    found = problems(3, [(11, 7)])
    cost, edges_a, edges_b, a, b = found[0]
    for count in (1, 2, 3):
        options = {"alpha": 0.0, "max_outer": 1, "max_inner": count, "tolerance": 0.0}
        solution = cpu.solve(make_task(found, **options))
        expected = gromov.sinkhorn(cost, a, b, 0.05, iterations=count)
        np.testing.assert_allclose(plans(solution, found)[0], expected, atol=1e-13)
        error = np.abs(expected.sum(1) - a).sum() + np.abs(expected.sum(0) - b).sum()
        np.testing.assert_allclose(solution.error.numpy(), error, atol=1e-13)
        assert solution.iterations.tolist() == [count]
        options = {"max_outer": count, "max_inner": 2000}
        solution = cpu.solve(make_task(found, **{"tolerance": 1e-14, **options}))
        expected = gromov.projected_gradient(cost, edges_a, edges_b, a, b, 0.5, 0.05, steps=count)
        np.testing.assert_allclose(plans(solution, found)[0], expected, atol=1e-12)


@pytest.mark.parametrize("proximal", [False, True])
def test_cpu_zero_weights_inside(proximal):
    """As if the positions were not there."""
    problem = gromov.random_problem(np.random.default_rng(4), 21, 9)
    whole_problem, inner, where = gromov.with_empty_positions(problem, [0, 4, 11], [2, 8])
    a, b = whole_problem[3:]
    options = {"proximal": proximal, "max_outer": 5 if proximal else 1000}
    whole = cpu.solve(make_task([whole_problem], **options)).plan[0].numpy()
    part = cpu.solve(make_task([inner], **options)).plan[0].numpy()
    np.testing.assert_allclose(whole[where], part, atol=1e-12)
    assert not whole[a == 0].any() and not whole[:, b == 0].any()
    assert whole.sum() == pytest.approx(1)


def test_cpu_items_know_nothing_of_their_batch(monkeypatch):
    """The same bits alone, in a batch, and with any number of threads."""
    found = problems(5)
    task = make_task(found, torch.float32, tolerance=1e-5, max_inner=10)
    alone = [cpu.solve(make_task([p], torch.float32, tolerance=1e-5, max_inner=10)) for p in found]
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        together = cpu.solve(task)
        for item, (cost, *_) in enumerate(found):
            rows, columns = cost.shape
            assert torch.equal(together.plan[item, :rows, :columns], alone[item].plan[0])
            assert torch.equal(together.error[item : item + 1], alone[item].error)
            assert torch.equal(together.iterations[item : item + 1], alone[item].iterations)


def test_cpu_items_stop_by_themselves():
    """An item that has arrived is not touched by the steps that others need."""
    found = problems(6, [(30, 8), (1, 5), (12, 3)])
    task = make_task(found, tolerance=1e-6, max_inner=50)
    solution = cpu.solve(task)
    counts = solution.iterations.tolist()
    assert counts[1] < max(counts) < task.max_outer
    for item, count in enumerate(counts):
        stopped = cpu.solve(dataclasses.replace(task, max_outer=max(count, 2)))
        assert torch.equal(stopped.plan[item], solution.plan[item])
    assert (solution.error <= 1e-6).all()


def test_cpu_marginals_have_their_own_tolerance():
    """A plan that still moves may stop; its marginals are exact."""
    found = problems(13, [(30, 8)])
    loose = cpu.solve(make_task(found, tolerance=3e-3, marginal_tolerance=1e-9))
    tight = cpu.solve(make_task(found, tolerance=1e-9))
    assert loose.error.item() <= 1e-9 and loose.iterations.item() < tight.iterations.item()
    plan, (cost, edges_a, edges_b, a, b) = plans(loose, found)[0], found[0]
    values = [
        gromov.objective(cost, edges_a, edges_b, x, 0.5, 0.05)[0]
        for x in (plan, plans(tight, found)[0])
    ]
    assert 0 <= values[0] - values[1] + 1e-9 < 1e-4
    plain = gromov.projected_gradient(cost, edges_a, edges_b, a, b, 0.5, 0.05)
    assert np.abs(plan - plain).sum() > 1e-6


@pytest.mark.parametrize("proximal", [False, True])
@pytest.mark.parametrize("scale", [1.0, -1.0, 30.0])
def test_cpu_small_epsilon_in_float32(proximal, scale):
    """exp(-cost / epsilon) is far below float32's range, and above it for negative costs."""
    found = problems(7, [(60, 12), (33, 20)])
    found = [(scale * cost, *rest) for cost, *rest in found]
    options = {"epsilon": 0.002, "proximal": proximal, "max_outer": 10, "max_inner": 3000}
    solution = cpu.solve(make_task(found, torch.float32, **{**options, "tolerance": 1e-5}))
    assert torch.isfinite(solution.plan).all() and (solution.plan >= 0).all()
    for plan, (*_, a, b) in zip(plans(solution, found), found):
        assert np.abs(plan.sum(0) - b).sum() < 1e-4
        assert np.abs(plan.sum(1) - a).sum() < 2e-2


def test_cpu_small_epsilon_is_the_same_transport():
    found = problems(8, [(20, 6)])
    cost, _, _, a, b = found[0]
    options = {"alpha": 0.0, "epsilon": 0.002, "max_outer": 1, "max_inner": 20000}
    task = make_task(found, torch.float32, **{**options, "tolerance": 1e-5})
    expected = gromov.sinkhorn(cost, a, b, 0.002, iterations=20000)
    assert np.abs(plans(cpu.solve(task), found)[0] - expected).sum() < 1e-3


def matrix(operator, sizes):
    """The dense matrices of an operator, entry by entry."""
    if isinstance(operator, FactoredOperator):
        return [x[:n] @ x[:n].T for x, n in zip(operator.factor.double().numpy(), sizes)]
    result = []
    for n, steps in zip(sizes, operator.steps.tolist()):
        d = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / steps
        result.append(
            {
                "exponential": np.exp(-d),
                "window": (d <= 1 + 1e-9).astype(float),
                "absolute": d,
                "squared": d**2,
            }[operator.kernel]
        )
    return result


def structured(kind, sizes, dtype, rng):
    if kind == "factored":
        factor = [rng.normal(size=(n, 5)) / 2 for n in sizes]
        return FactoredOperator(-1.0, torch.from_numpy(gromov.pad(factor)).to(dtype))
    sign = -1.0 if kind in ("exponential", "window") else 1.0
    return TemporalOperator(sign, kind, 0.3 * torch.tensor(sizes, dtype=dtype))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("side", ["a", "b", "both"])
@pytest.mark.parametrize("kind", ["factored", *KERNELS])
def test_cpu_structured_edges(kind, side, dtype):
    """Like their matrices: entries of 1 - S for the sign -1."""
    found = problems(9, [(40, 18), (17, 6), (3, 2)])
    task = make_task(found, dtype, **{**settings(dtype), "max_outer": 3, "epsilon": 0.2})
    rng = np.random.default_rng(10)
    for name, index, position in (("a", 1, 0), ("b", 2, 1)):
        if side not in (name, "both"):
            continue
        sizes = [p[0].shape[position] for p in found]
        operator = structured(kind, sizes, dtype, rng)
        task = dataclasses.replace(task, **{f"edges_{name}": operator})
        matrices = [x if operator.sign > 0 else 1 - x for x in matrix(operator, sizes)]
        found = [(*p[:index], x, *p[index + 1 :]) for p, x in zip(found, matrices)]
    for plan, problem in zip(plans(cpu.solve(task), found), found):
        expected = gromov.projected_gradient(*problem, 0.5, 0.2, steps=3)
        assert np.abs(plan - expected).sum() < TOLERANCES[dtype]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cpu_solves_in_a_forked_process(monkeypatch):
    """The threads of the parent are not there."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    task = make_task(problems(11), torch.float32, tolerance=1e-5)
    expected = cpu.solve(task).plan
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(cpu.solve(task).plan, expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_cpu_solves_without_a_place_for_its_cache(tmp_path):
    """A read-only installation compiles anew, and says nothing."""
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from gmot.ot.backends import cpu\n"
        "print(cpu._kernel().stats.cache_hits)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert found.stdout == "Counter()\n", found.stderr


def test_cpu_says_why_not():
    task = make_task(problems(12, [(3, 2)]))
    assert cpu.missing(task) is None
    elsewhere = dataclasses.replace(task, node_cost=torch.empty(1, device="meta"))
    assert "meta" in cpu.missing(elsewhere)
