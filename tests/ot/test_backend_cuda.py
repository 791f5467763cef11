"""The Triton kernel against plain float64 loops: on a CUDA device, else in Triton's interpreter.

The interpreter has to be asked for before triton is imported, and an illegal address on a device
ends a process, so this file runs itself: the cases run in one other process, and are reported one
by one. How the kernel compiles is tested by test_triton_versions.py.
"""

import dataclasses
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from oracles import batches, gromov  # noqa: E402

from gmot.ot import CosineEdges, TemporalEdges, sinkhorn  # noqa: E402
from gmot.ot.kernels import cuda  # noqa: E402
from gmot.ot.result import Solution  # noqa: E402

pytest.importorskip("triton")
pytestmark = pytest.mark.integration

# A block that is not full, and one of each.
SIZES = [(21, 6), (9, 4), (1, 3), (4, 1)]
CASES = {}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_device(case):
    CASES[case.__name__] = case
    return case


def problems(seed, sizes=SIZES):
    return batches.problems(seed, sizes)


def make_case(found, **options):
    exact = {"tolerance": 3e-6, "max_outer": 60, "max_inner": 60}
    options = {"edge_weight": 0.5, "epsilon": 0.2, "proximal": False, **exact, **options}
    return batches.make_case(found, torch.float32, DEVICE, **options)


def solve(found, **options):
    case = make_case(found, **options)
    assert cuda.missing(*case) is None
    return Solution(*(x.cpu() for x in cuda.solve(*case)))


def assert_close(solution, found, expected, tolerance=1e-4):
    """Each item's plan to ``expected`` of its problem, in L1."""
    assert (batches.distances(solution, found, expected) < tolerance).all()


# ----------------------------------------------------------- on the device or in the interpreter


@on_device
def projected_gradient():
    for alpha, epsilon in ((0.0, 0.1), (0.5, 0.3), (1.0, 0.5)):
        found = problems(0)
        solution = solve(found, edge_weight=alpha, epsilon=epsilon, max_outer=40)
        assert_close(
            solution,
            found,
            lambda *p, o=(alpha, epsilon): gromov.projected_gradient(*p, *o, steps=40),
        )
        assert (solution.error < 1e-5).all()


@on_device
def proximal():
    found, steps = problems(1), 4
    # The paper linearises without the factor 2: (1 - alpha) M + alpha D (x) P, here of 0.5 each.
    options = {"edge_weight": 1 / 3, "epsilon": 0.4 / 0.75, "proximal": True, "max_outer": steps}
    solution = solve(found, **options)
    assert_close(solution, found, lambda *p: gromov.gm_ot(*p, 0.5, 0.4, steps)[-1])


@on_device
def unbalanced():
    found, epsilon = problems(2), 0.1
    options = {"edge_weight": 0.0, "epsilon": epsilon, "max_outer": 1, "max_inner": 200}
    for reach in ((0.5, 1.0), (1e12, 0.2)):
        solution = solve(found, **options, reach_a=reach[0], reach_b=reach[1])
        assert_close(
            solution,
            found,
            lambda cost, _, __, a, b, r=reach: gromov.unbalanced(cost, a, b, epsilon, *r),
        )
        assert (solution.error < 1e-5).all() and (solution.iterations < 200).all()


@on_device
def iterations_are_those_of_the_definition():
    found = problems(3, [(18, 7)])
    cost, edges_a, edges_b, a, b = found[0]
    for count in (1, 2, 3):
        options = {"edge_weight": 0.0, "max_outer": 1, "max_inner": count, "tolerance": 0.0}
        solution = solve(found, **options)
        expected = gromov.sinkhorn(cost, a, b, 0.2, iterations=count)
        np.testing.assert_allclose(solution.plan[0].numpy(), expected, atol=1e-6)
        error = np.abs(expected.sum(1) - a).sum() + np.abs(expected.sum(0) - b).sum()
        np.testing.assert_allclose(solution.error.numpy(), error, atol=3e-6)
        assert solution.iterations.tolist() == [count]
    solution = solve(found, max_outer=2)
    expected = gromov.projected_gradient(cost, edges_a, edges_b, a, b, 0.5, 0.2, steps=2)
    np.testing.assert_allclose(solution.plan[0].numpy(), expected, atol=1e-6)
    assert solution.iterations.tolist() == [2]


@on_device
def zero_marginals_inside():
    """As if the positions were not there."""
    problem = problems(4, [(21, 9)])[0]
    whole_problem, inner, where = gromov.with_empty_positions(problem, [0, 4, 20], [2, 8])
    a, b = whole_problem[3:]
    for options in ({"max_outer": 10}, {"proximal": True, "max_outer": 3}):
        whole = solve([whole_problem], **options).plan[0].numpy()
        part = solve([inner], **options).plan[0].numpy()
        np.testing.assert_allclose(whole[where], part, atol=1e-6)
        assert not whole[a == 0].any() and not whole[:, b == 0].any()
        np.testing.assert_allclose(whole.sum(), 1, atol=1e-5)


@on_device
def more_rows_than_a_block():
    """128; in the second case nothing has been summed when the first weight comes."""
    ((cost, edges_a, edges_b, a, b),) = problems(5, [(150, 3)])
    for first in (0, 140):
        weights = np.where(np.arange(150) < first, 0, a)
        weights /= weights.sum()
        for proximal, oracle in ((False, gromov.projected_gradient), (True, gromov.gm_ot)):
            options = {"edge_weight": 1 / 3, "epsilon": 0.3, "proximal": proximal, "max_outer": 2}
            solution = solve([(cost, edges_a, edges_b, weights, b)], **options)
            plan = solution.plan[0].double().numpy()
            rest = (cost[first:], edges_a[first:, first:], edges_b, weights[first:], b)
            # For the second oracle see the test of proximal steps.
            constants = (0.5, 0.225) if proximal else (1 / 3, 0.3)
            expected = oracle(*rest, *constants, 2)
            expected = expected[-1] if proximal else expected
            assert not plan[:first].any()
            assert np.abs(plan[first:] - expected).sum() < 1e-4


@on_device
def items_do_not_depend_on_their_batch():
    found = problems(6)
    options = {"tolerance": 1e-3, "max_inner": 5}
    together = solve(found, **options)
    assert len(set(together.iterations.tolist())) > 1
    for item, problem in enumerate(found):
        alone = solve([problem], **options)
        rows, columns = problem[0].shape
        torch.testing.assert_close(
            together.plan[item, :rows, :columns], alone.plan[0], rtol=0, atol=1e-7
        )
        assert together.iterations[item] == alone.iterations[0]


@on_device
def marginals_have_their_own_tolerance():
    found = problems(7, [(10, 4)])
    loose = solve(found, tolerance=1e-2, marginal_tolerance=1e-5)
    tight = solve(found, tolerance=1e-5)
    assert loose.error <= 1e-5 and loose.iterations < tight.iterations


@on_device
def small_epsilon():
    """exp(-cost / epsilon) is far below float32's range, and above it for negative costs."""
    for scale in (1.0, -1.0, 30.0):
        found = [(scale * cost, *rest) for cost, *rest in problems(8, [(20, 6), (13, 9)])]
        for options in ({}, {"proximal": True}):
            plan = solve(found, **options, epsilon=0.002, max_outer=3, max_inner=8).plan
            assert torch.isfinite(plan).all() and (plan >= 0).all()
            for item, (*_, b) in zip(plan, found):
                np.testing.assert_allclose(item.sum(0).numpy()[: len(b)], b, atol=1e-4)


@on_device
def small_epsilon_is_the_same_transport():
    found = problems(9, [(14, 5)])
    options = {"edge_weight": 0.0, "epsilon": 0.002, "max_outer": 1, "max_inner": 150}
    cost, _, _, a, b = found[0]
    solution = solve(found, **options, tolerance=0.0)
    expected = gromov.sinkhorn(cost, a, b, 0.002, iterations=150)
    assert_close(solution, found, lambda *_: expected, 1e-3)


@on_device
def structured_edges():
    """Like their matrices; the vectors have width 3, so their edges are factored."""
    cost, _, edges_b, a, b = problems(10, [(13, 5)])[0]
    vectors = np.random.default_rng(10).normal(size=(1, 13, 3)) / 2
    for edges in (
        CosineEdges(torch.from_numpy(vectors).float().to(DEVICE)),
        TemporalEdges(torch.tensor([13], device=DEVICE), 13, 0.3),
    ):
        matrix = edges.dense()[0].cpu().double().numpy()
        found = [(cost, matrix, edges_b, a, b)]
        solution = solve(found, edges={"edges_a": edges}, max_outer=2, epsilon=0.5)
        assert_close(solution, found, lambda *p: gromov.projected_gradient(*p, 0.5, 0.5, steps=2))


def main():
    outcomes = {}
    for name, case in CASES.items():
        try:
            case()
            outcomes[name] = ""
        except Exception:
            outcomes[name] = traceback.format_exc()
    print(json.dumps(outcomes))


@pytest.fixture(scope="module")
def outcomes():
    environment = {**os.environ, "TRITON_INTERPRET": "0" if DEVICE.type == "cuda" else "1"}
    command = [sys.executable, str(Path(__file__).resolve())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_cuda(name, outcomes):
    assert not outcomes[name], outcomes[name]


# --------------------------------------------------------------------------- in this process


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter is there")
def test_cuda_on_a_cpu_leaves_it_to_the_reference():
    cost = torch.rand(2, 4, 3)
    result = sinkhorn(cost, epsilon=0.123, backend="cuda")
    assert torch.equal(result.plan, sinkhorn(cost, epsilon=0.123, backend="torch").plan)


def test_cuda_says_why_not(monkeypatch):
    problem, settings = make_case(problems(11, [(3, 2)]))
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    if DEVICE.type == "cpu":
        assert "cpu" in cuda.missing(problem, settings)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert cuda.missing(problem, settings) is None
    wide = dataclasses.replace(problem, node_cost=torch.zeros(1, 2, 129))
    assert all(fact in cuda.missing(wide, settings) for fact in ("129", "128"))
    double = dataclasses.replace(problem, node_cost=problem.node_cost.double())
    assert "float64" in cuda.missing(double, settings)
    monkeypatch.setattr(torch, "__version__", "1.13.1")
    assert "torch 2" in cuda.missing(problem, settings)


if __name__ == "__main__":
    main()
