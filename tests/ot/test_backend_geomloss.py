"""GeomLoss as the inner solver, against plain float64 loops."""

import numpy as np
import pytest
import torch
from oracles import batches, gromov

from gmot.ot import CosineEdges, TemporalEdges, fused_gromov_wasserstein

pytest.importorskip("geomloss")

from gmot.ot.kernels import geomloss  # noqa: E402

pytestmark = pytest.mark.integration
SIZES = [(23, 7), (12, 4), (1, 3), (4, 1), (1, 1)]
TOLERANCES = {torch.float32: 3e-6, torch.float64: 1e-9}
DISTANCES = {torch.float32: 1e-4, torch.float64: 1e-7}


def problems(seed=0, sizes=SIZES):
    return batches.problems(seed, sizes)


def make_case(found, dtype=torch.float64, **options):
    exact = {"tolerance": TOLERANCES[dtype], "max_outer": 400, "max_inner": 1000}
    options = {"edge_weight": 0.5, "epsilon": 0.1, "proximal": False, **exact, **options}
    return batches.make_case(found, dtype, **options)


def solve(found, dtype=torch.float64, **options):
    return geomloss.solve(*make_case(found, dtype, **options))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_geomloss_projected_gradient(alpha, dtype):
    found, steps = problems(), {0.5: 400}.get(alpha, 3)
    solution = solve(found, dtype, edge_weight=alpha, max_outer=steps)
    assert solution.plan.dtype == dtype
    assert (solution.error <= TOLERANCES[dtype]).all()
    found_distances = batches.distances(
        solution, found, lambda *p: gromov.projected_gradient(*p, alpha, 0.1, steps=steps)
    )
    assert (found_distances < DISTANCES[dtype]).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_geomloss_proximal(dtype):
    found, steps = problems(1), 5
    # The paper linearises without the factor 2: (1 - alpha) M + alpha D (x) P, here of 0.5 each.
    options = {"edge_weight": 1 / 3, "epsilon": 0.2 / 0.75, "proximal": True, "max_outer": steps}
    solution = solve(found, dtype, **options)
    found_distances = batches.distances(
        solution, found, lambda *p: gromov.gm_ot(*p, 0.5, 0.2, steps)[-1]
    )
    assert (found_distances < DISTANCES[dtype]).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_geomloss_unbalanced(dtype):
    """Its entropy is relative to the marginals, ours is not."""
    found, epsilon, reach = problems(2), 0.05, 0.5
    options = {"edge_weight": 0.0, "epsilon": epsilon, "max_outer": 1}
    solution = solve(found, dtype, **options, reach_a=reach, reach_b=reach)
    found_distances = batches.distances(
        solution, found, lambda cost, _, __, a, b: gromov.unbalanced(cost, a, b, 0.05, 0.5, 0.5)
    )
    assert (found_distances < DISTANCES[dtype]).all()
    assert (solution.error < 10 * TOLERANCES[dtype]).all()


@pytest.mark.parametrize("proximal", [False, True])
def test_geomloss_zero_marginals_inside(proximal):
    """As if the positions were not there."""
    problem = problems(4, [(21, 9)])[0]
    whole_problem, inner, where = gromov.with_empty_positions(problem, [0, 4, 11], [2, 8])
    a, b = whole_problem[3:]
    options = {"proximal": proximal, "max_outer": 5 if proximal else 400}
    whole = solve([whole_problem], **options).plan[0].numpy()
    part = solve([inner], **options).plan[0].numpy()
    np.testing.assert_allclose(whole[where], part, atol=1e-9)
    assert not whole[a == 0].any() and not whole[:, b == 0].any()
    assert whole.sum() == pytest.approx(1)


def test_geomloss_items_do_not_depend_on_their_batch():
    """Not of a batch mate's range of costs, and not of how long it takes."""
    found = problems(5)
    found[1] = tuple(x * scale for x, scale in zip(found[1], (50, 1, 1, 1, 1)))
    options = {"tolerance": 1e-5, "max_inner": 10}
    together = solve(found, **options)
    assert len(set(together.iterations.tolist())) > 2
    for item, problem in enumerate(found):
        alone = solve([problem], **options)
        rows, columns = problem[0].shape
        torch.testing.assert_close(
            together.plan[item, :rows, :columns], alone.plan[0], rtol=0, atol=1e-12
        )
        assert together.iterations[item] == alone.iterations[0]


def test_geomloss_iterations_go_as_far_as_sinkhorn_does():
    """No more of its iterations than of the plain loop, give or take, to the same error."""
    found = problems(6, [(30, 8)])
    cost, _, _, a, b = found[0]
    options = {"edge_weight": 0.0, "epsilon": 0.02, "max_outer": 1, "tolerance": 1e-5}
    solution = solve(found, **options)
    count = int(solution.iterations)
    assert 20 < count < 1000 and solution.error <= 1e-5
    plan = gromov.sinkhorn(cost, a, b, 0.02, iterations=int(count * 0.7) - 10)
    assert np.abs(plan.sum(1) - a).sum() > 1e-5
    limited = solve(found, **{**options, "max_inner": 15})
    assert limited.iterations.tolist() == [15] and limited.error > 1e-5


@pytest.mark.parametrize("scale", [1.0, -1.0, 30.0])
def test_geomloss_small_epsilon_in_float32(scale):
    found = [(scale * cost, *rest) for cost, *rest in problems(7, [(30, 7), (19, 10)])]
    options = {"epsilon": 0.002, "max_outer": 3, "max_inner": 300, "tolerance": 1e-4}
    solution = solve(found, torch.float32, **options)
    assert torch.isfinite(solution.plan).all() and (solution.plan >= 0).all()
    assert (solution.error < 0.2).all()


@pytest.mark.parametrize("enabled", [False, True])
def test_geomloss_leaves_the_grad_mode_alone(enabled):
    """GeomLoss itself switches it on."""
    with torch.set_grad_enabled(enabled):
        solve(problems(8, [(3, 2)]))
        assert torch.is_grad_enabled() is enabled


def test_geomloss_by_name_with_gradient_and_structure(caplog):
    rng = np.random.default_rng(9)
    x, y = (
        torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(2, n, 5))), dim=2)
        for n in (14, 5)
    )
    lengths = torch.tensor([14, 9])
    values, gradients = [], []
    for backend in ("geomloss", "torch"):
        features = x.clone().requires_grad_()
        result = fused_gromov_wasserstein(
            1 - features @ y.transpose(1, 2),
            TemporalEdges(lengths, 14, dtype=torch.float64),
            CosineEdges(y),
            lengths_a=lengths,
            epsilon=0.1,
            max_inner=200,
            tolerance=1e-9,
            backend=backend,
        )
        result.value.sum().backward()
        values.append(result.value.detach())
        gradients.append(features.grad)
    assert not caplog.records
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-8)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-7)


def test_geomloss_says_why_not():
    found = problems(10, [(3, 2)])
    assert geomloss.missing(*make_case(found)) is None
    assert "reach" in geomloss.missing(*make_case(found, reach_a=0.9))
