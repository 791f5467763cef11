"""The numba backend against plain float64 loops, and against itself in other batches."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import batches, gromov
from oracles.batches import plans

from gmot.ot import CosineEdges, TemporalEdges

pytest.importorskip("numba")

from gmot.ot.kernels import cpu  # noqa: E402

# More than a cache line, tiles of every height, one of each.
SIZES = [(37, 14), (9, 4), (18, 25), (5, 6), (1, 3), (4, 1), (1, 1)]
EXACT = {"tolerance": 1e-13, "max_outer": 1000, "max_inner": 2000}
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}


def problems(seed=0, sizes=SIZES):
    return batches.problems(seed, sizes)


def make_case(found, dtype=torch.float64, edges=None, **options):
    options = {"edge_weight": 0.5, "epsilon": 0.05, "proximal": False, **EXACT, **options}
    return batches.make_case(found, dtype, edges=edges, **options)


def solve(found, dtype=torch.float64, **options):
    return cpu.solve(*make_case(found, dtype, **options))


def exact(dtype):
    return {"tolerance": 1e-13 if dtype == torch.float64 else 1e-6}


@pytest.mark.parametrize("weight, steps", [(0.0, 2), (0.5, 500), (1.0, 4)])
def test_cpu_projected_gradient(weight, steps):
    found = problems()
    expected = [gromov.projected_gradient(*p, weight, 0.1, steps) for p in found]
    for dtype, tolerance in TOLERANCES.items():
        options = {"max_outer": steps, "max_inner": 20000, **exact(dtype)}
        solution = solve(found, dtype, edge_weight=weight, epsilon=0.1, **options)
        assert solution.plan.dtype == dtype
        for plan, other in zip(plans(solution, found), expected):
            assert np.abs(plan - other).sum() < tolerance


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_cpu_proximal(dtype):
    """Six steps, each an exact transport."""
    found, steps = problems(1), 6
    # The paper linearises without the factor 2: (1 - alpha) M + alpha D (x) P, here of 0.5 each.
    options = {"edge_weight": 1 / 3, "epsilon": 0.2 / 0.75, "proximal": True}
    options.update(max_outer=steps, max_inner=5000, tolerance=exact(dtype)["tolerance"] / 10)
    solution = solve(found, dtype, **options)
    distances = batches.distances(solution, found, lambda *p: gromov.gm_ot(*p, 0.5, 0.2, steps)[-1])
    assert (distances < TOLERANCES[dtype]).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("reach", [(0.5, 1.0), (None, 0.2), (0.05, 0.05)])
def test_cpu_unbalanced(reach, dtype):
    found = problems(2)
    options = {"edge_weight": 0.0, "max_outer": 1, "max_inner": 5000, **exact(dtype)}
    solution = solve(found, dtype, reach_a=reach[0], reach_b=reach[1], **options)
    far = [1e12 if r is None else r for r in reach]
    distances = batches.distances(
        solution, found, lambda cost, _, __, a, b: gromov.unbalanced(cost, a, b, 0.05, *far)
    )
    assert (distances < TOLERANCES[dtype]).all()
    assert (solution.error < 20 * TOLERANCES[dtype]).all()


def test_cpu_iterations_are_those_of_the_definition():
    """Few iterations of one transport, then few outer steps: no other fixed point helps."""
    found = problems(3, [(11, 7)])
    cost, edges_a, edges_b, a, b = found[0]
    for count in (1, 2, 3):
        options = {"edge_weight": 0.0, "max_outer": 1, "max_inner": count, "tolerance": 0.0}
        solution = solve(found, **options)
        expected = gromov.sinkhorn(cost, a, b, 0.05, iterations=count)
        np.testing.assert_allclose(plans(solution, found)[0], expected, atol=1e-13)
        error = np.abs(expected.sum(1) - a).sum() + np.abs(expected.sum(0) - b).sum()
        np.testing.assert_allclose(solution.error.numpy(), error, atol=1e-13)
        assert solution.iterations.tolist() == [count]
        solution = solve(found, tolerance=1e-14, max_outer=count)
        expected = gromov.projected_gradient(cost, edges_a, edges_b, a, b, 0.5, 0.05, steps=count)
        np.testing.assert_allclose(plans(solution, found)[0], expected, atol=1e-12)


@pytest.mark.parametrize("proximal", [False, True])
def test_cpu_zero_marginals_inside(proximal):
    """As if the positions were not there."""
    problem = gromov.random_problem(np.random.default_rng(4), 21, 9)
    complete, inner, where = gromov.with_empty_positions(problem, [0, 4, 11], [2, 8])
    a, b = complete[3:]
    options = {"proximal": proximal, "max_outer": 5 if proximal else 1000}
    plan = solve([complete], **options).plan[0].numpy()
    np.testing.assert_allclose(plan[where], solve([inner], **options).plan[0].numpy(), atol=1e-12)
    assert not plan[a == 0].any() and not plan[:, b == 0].any()
    assert plan.sum() == pytest.approx(1)


def test_cpu_items_do_not_depend_on_their_batch(monkeypatch):
    """The same bits alone, in a batch, and with any number of threads."""
    found, options = problems(5), {"tolerance": 1e-5, "max_inner": 10}
    alone = [solve([p], torch.float32, **options) for p in found]
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        together = solve(found, torch.float32, **options)
        for item, (cost, *_) in enumerate(found):
            rows, columns = cost.shape
            assert torch.equal(together.plan[item, :rows, :columns], alone[item].plan[0])
            assert torch.equal(together.error[item : item + 1], alone[item].error)
            assert torch.equal(together.iterations[item : item + 1], alone[item].iterations)


def test_cpu_items_stop_by_themselves():
    """A converged item is not touched by the steps that others need."""
    found = problems(6, [(30, 8), (1, 5), (12, 3)])
    options = {"tolerance": 1e-6, "max_inner": 50}
    solution = solve(found, **options)
    counts = solution.iterations.tolist()
    assert counts[1] < max(counts) < EXACT["max_outer"]
    for item, count in enumerate(counts):
        stopped = solve(found, **options, max_outer=max(count, 2))
        assert torch.equal(stopped.plan[item], solution.plan[item])
    assert (solution.error <= 1e-6).all()


def test_cpu_marginals_have_their_own_tolerance():
    """A plan that still moves may stop; its marginals are exact."""
    found = problems(13, [(30, 8)])
    loose = solve(found, tolerance=3e-3, marginal_tolerance=1e-9)
    tight = solve(found, tolerance=1e-9)
    assert loose.error.item() <= 1e-9 and loose.iterations.item() < tight.iterations.item()
    values = [
        gromov.objective(*found[0][:3], plans(x, found)[0], 0.5, 0.05)[0] for x in (loose, tight)
    ]
    assert 0 <= values[0] - values[1] + 1e-9 < 1e-4
    assert (loose.plan - tight.plan).abs().sum() > 1e-6


@pytest.mark.parametrize("proximal", [False, True])
@pytest.mark.parametrize("scale", [1.0, -1.0, 30.0])
def test_cpu_small_epsilon_in_float32(proximal, scale):
    """exp(-cost / epsilon) is far below float32's range, and above it for negative costs."""
    found = [(scale * cost, *rest) for cost, *rest in problems(7, [(60, 12), (33, 20)])]
    options = {"epsilon": 0.002, "proximal": proximal, "max_outer": 10, "max_inner": 3000}
    solution = solve(found, torch.float32, **options, tolerance=1e-5)
    assert (solution.plan >= 0).all()
    for plan, (*_, a, b) in zip(plans(solution, found), found):
        assert np.abs(plan.sum(0) - b).sum() < 1e-4
        assert np.abs(plan.sum(1) - a).sum() < 2e-2


def test_cpu_small_epsilon_is_the_same_transport():
    found = problems(8, [(20, 6)])
    cost, _, _, a, b = found[0]
    options = {"edge_weight": 0.0, "epsilon": 0.002, "max_outer": 1, "max_inner": 20000}
    solution = solve(found, torch.float32, **options, tolerance=1e-5)
    expected = gromov.sinkhorn(cost, a, b, 0.002, iterations=20000)
    assert np.abs(plans(solution, found)[0] - expected).sum() < 1e-3


def structured(kind, sizes, dtype):
    """Edges of a kind and their matrices."""
    if kind == "temporal":
        edges = TemporalEdges(torch.tensor(sizes), max(sizes), 0.3, dtype=dtype)
    else:  # of width 3, so that long ones are multiplied by their factors
        rng = np.random.default_rng(10)
        vectors = [rng.normal(size=(n, 3)) / 2 for n in sizes]
        edges = CosineEdges(torch.from_numpy(gromov.pad(vectors)).to(dtype))
    matrices = edges.dense().double().numpy()
    return edges, [matrix[:n, :n] for matrix, n in zip(matrices, sizes)]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sides", ["a", "b", "ab"])
@pytest.mark.parametrize("kind", ["factored", "temporal"])
def test_cpu_structured_edges(kind, sides, dtype):
    """Like their matrices."""
    found, edges = problems(9, [(40, 18), (17, 6), (3, 2)]), {}
    for side in sides:
        axis, position = "ab".index(side), "ab".index(side) + 1
        sizes = [p[0].shape[axis] for p in found]
        edges[f"edges_{side}"], matrices = structured(kind, sizes, dtype)
        found = [(*p[:position], x, *p[position + 1 :]) for p, x in zip(found, matrices)]
    options = {"max_outer": 3, "epsilon": 0.2, **exact(dtype)}
    solution = solve(found, dtype, edges=edges, **options)
    distances = batches.distances(
        solution, found, lambda *p: gromov.projected_gradient(*p, 0.5, 0.2, steps=3)
    )
    assert (distances < TOLERANCES[dtype]).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.integration
def test_cpu_solves_in_a_forked_process(monkeypatch):
    """The threads of the parent are not there."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    case = make_case(problems(11), torch.float32, tolerance=1e-5)
    expected = cpu.solve(*case).plan
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(cpu.solve(*case).plan, expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.integration
def test_cpu_solves_without_a_writable_cache():
    """A read-only installation compiles in memory, without a message."""
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from gmot.ot.kernels import cpu\n"
        "print(cpu._kernel().stats.cache_hits)"
    )
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert found.stdout == "Counter()\n", found.stderr


def test_cpu_says_why_not():
    problem, settings = make_case(problems(12, [(3, 2)]))
    assert cpu.missing(problem, settings) is None
    elsewhere = dataclasses.replace(problem, node_cost=torch.empty(1, device="meta"))
    assert "meta" in cpu.missing(elsewhere, settings)
