"""gmot.ot.fused_gromov_wasserstein against POT, a plain loop, and finite differences."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import gromov

from gmot.ot import fused_gromov_wasserstein

SIZES = [(8, 4), (5, 6), (1, 3), (4, 1), (1, 1)]
EXACT = {"tolerance": 1e-13, "max_outer": 1000, "max_inner": 2000}


def batch(seed=0, fill=0.0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    problems = [gromov.random_problem(rng, *size) for size in sizes]
    padded = [gromov.pad([p[k] for p in problems], fill) for k in range(5)]
    lengths_a, lengths_b = (list(x) for x in zip(*sizes))
    return problems, padded, {"lengths_a": lengths_a, "lengths_b": lengths_b}


@pytest.mark.parametrize("alpha, epsilon", [(0.5, 0.05), (0.9, 0.1), (1.0, 0.05), (0.0, 0.05)])
def test_oracle_projected_gradient(alpha, epsilon):
    problems, padded, lengths = batch()
    result = fused_gromov_wasserstein(
        *padded, edge_weight=alpha, epsilon=epsilon, **lengths, **EXACT
    )
    for i, (cost, edges_a, edges_b, a, b) in enumerate(problems):
        expected = gromov.projected_gradient(cost, edges_a, edges_b, a, b, alpha, epsilon)
        found = result.plan[i].numpy()
        np.testing.assert_allclose(found[: len(a), : len(b)], expected, atol=1e-10)
        assert not found[len(a) :].any() and not found[:, len(b) :].any()
        parts = gromov.objective(cost, edges_a, edges_b, expected, alpha, epsilon)
        values = [getattr(result, k)[i].item() for k in ("value", "node", "edge", "entropy")]
        np.testing.assert_allclose(values, parts, atol=1e-9)
    assert (result.marginal_error < 1e-12).all()


@pytest.mark.parametrize("solver", ["PGD", "PPA"])
def test_oracle_pot(solver):
    ot = pytest.importorskip("ot")
    steps = 500 if solver == "PGD" else 8
    cost, edges_a, edges_b, a, b = gromov.random_problem(np.random.default_rng(1), 10, 5)
    result = fused_gromov_wasserstein(
        cost,
        edges_a,
        edges_b,
        a,
        b,
        edge_weight=0.4,
        epsilon=0.1 if solver == "PGD" else 0.2,
        method="projected_gradient" if solver == "PGD" else "proximal",
        max_outer=steps,
        max_inner=5000,
        tolerance=1e-13,
    )
    expected = ot.gromov.entropic_fused_gromov_wasserstein(
        cost,
        edges_a,
        edges_b,
        a,
        b,
        alpha=0.4,
        epsilon=0.1 if solver == "PGD" else 0.2,
        solver=solver,
        max_iter=steps,
        tol=1e-12,
        numItermax=10000,
        stopThr=1e-13,
    )
    np.testing.assert_allclose(result.plan.numpy(), expected, atol=1e-11)


def test_oracle_pot_proximal_limit_is_the_unregularised_stationary_point():
    """Many proximal steps leave no entropy: POT's PPA, run to its own convergence."""
    ot = pytest.importorskip("ot")
    cost, edges_a, edges_b, a, b = gromov.random_problem(np.random.default_rng(2), 6, 4)
    result = fused_gromov_wasserstein(
        cost,
        edges_a,
        edges_b,
        a,
        b,
        edge_weight=0.4,
        epsilon=0.05,
        method="proximal",
        max_outer=300,
    )
    expected, log = ot.gromov.entropic_fused_gromov_wasserstein(
        cost, edges_a, edges_b, a, b, alpha=0.4, epsilon=0.05, solver="PPA", max_iter=300,
        tol=1e-12, numItermax=20000, log=True,
    )  # fmt: skip
    found = 0.6 * result.node + 0.4 * result.edge
    assert found.item() == pytest.approx(log["fgw_dist"], abs=2e-4)


@pytest.mark.parametrize("alpha, epsilon", [(0.5, 0.1), (1.0, 0.1), (0.1, 0.05)])
def test_oracle_gradient_is_that_of_the_minimum(alpha, epsilon):
    """Autograd's gradient of the value against differences of converged values."""
    rng = np.random.default_rng(3)
    sizes = [(6, 4), (4, 5)]
    _, padded, lengths = batch(seed=3, sizes=sizes)
    arrays = [torch.from_numpy(x).requires_grad_() for x in padded[:3]]
    weights = padded[3:]

    def value(arrays):
        return fused_gromov_wasserstein(
            *arrays, *weights, edge_weight=alpha, epsilon=epsilon, **lengths, **EXACT
        ).value.sum()

    value(arrays).backward()
    step = 1e-5
    for k in range(3):
        direction = torch.from_numpy(rng.normal(size=padded[k].shape))
        if k > 0:
            direction = direction + direction.transpose(1, 2)
        ends = []
        for sign in (1, -1):
            moved = [x.detach() for x in arrays]
            moved[k] = moved[k] + sign * step * direction
            ends.append(value(moved).item())
        numeric = (ends[0] - ends[1]) / (2 * step)
        exact = (arrays[k].grad * direction).sum().item()
        assert exact == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("method", ["projected_gradient", "proximal"])
def test_unrolled_plan_has_the_gradient_of_its_iterations(method):
    rng = np.random.default_rng(4)
    cost, edges_a, edges_b, a, b = gromov.random_problem(rng, 4, 3)
    weight = torch.from_numpy(rng.normal(size=cost.shape))

    def functional(cost, edges_a):
        plan = fused_gromov_wasserstein(
            gromov_pad(cost),
            gromov_pad(edges_a + edges_a.t(), square=True),
            edges_b,
            np.append(a, 0.0),
            b,
            edge_weight=0.5,
            epsilon=0.2,
            method=method,
            max_outer=3,
            max_inner=12,
            tolerance=0,
            plan_gradient="unroll",
        ).plan
        return (plan[:4] * weight).sum()

    def gromov_pad(x, square=False):
        """A row without weight: gradients must not turn into NaN there."""
        return torch.nn.functional.pad(x, (0, 1 if square else 0, 0, 1))

    inputs = [torch.from_numpy(x).requires_grad_() for x in (cost, edges_a / 2)]
    assert torch.autograd.gradcheck(functional, inputs)


def test_plan_is_detached_by_default():
    _, padded, lengths = batch()
    arrays = [torch.from_numpy(x).requires_grad_() for x in padded[:3]]
    result = fused_gromov_wasserstein(*arrays, *padded[3:], **lengths)
    assert not result.plan.requires_grad
    assert result.value.requires_grad and result.node.requires_grad and result.edge.requires_grad


@pytest.mark.parametrize("method", ["projected_gradient", "proximal"])
def test_batch_mates_do_not_matter(method):
    """float32, defaults: items stop at different steps and are frozen."""
    problems, padded, lengths = batch(seed=7)
    options = {"method": method, "edge_weight": 0.5, "epsilon": 0.1}
    together = fused_gromov_wasserstein(
        *(x.astype(np.float32) for x in padded), **lengths, **options
    )
    assert len(set(together.iterations.tolist())) > 1
    for i, problem in enumerate(problems):
        alone = fused_gromov_wasserstein(*(x.astype(np.float32) for x in problem), **options)
        rows, columns = SIZES[i]
        assert (together.plan[i, :rows, :columns] - alone.plan).abs().max() < 1e-6
        assert together.value[i].item() == pytest.approx(alone.value.item(), abs=1e-6)


def test_padding_has_no_effect_be_it_nan():
    _, clean, lengths = batch()
    _, dirty, _ = batch(fill=float("nan"))
    first = fused_gromov_wasserstein(*clean, **lengths)
    arrays = [torch.from_numpy(x).requires_grad_() for x in dirty[:3]]
    second = fused_gromov_wasserstein(*arrays, *dirty[3:], **lengths)
    assert torch.equal(first.plan, second.plan)
    second.value.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in arrays)


def test_transposing_the_problem_transposes_the_plan():
    cost, edges_a, edges_b, a, b = gromov.random_problem(np.random.default_rng(9), 7, 5)
    plan = fused_gromov_wasserstein(cost, edges_a, edges_b, a, b, **EXACT).plan
    other = fused_gromov_wasserstein(cost.T, edges_b, edges_a, b, a, **EXACT).plan
    assert torch.allclose(plan.t(), other, atol=1e-10)


@pytest.mark.parametrize("method", ["projected_gradient", "proximal"])
def test_small_epsilon_in_float32_stays_finite(method):
    _, padded, lengths = batch(seed=10)
    arrays = [torch.from_numpy(x.astype(np.float32)) for x in padded]
    cost = arrays[0].requires_grad_()
    result = fused_gromov_wasserstein(cost, *arrays[1:], epsilon=0.002, method=method, **lengths)
    result.value.sum().backward()
    for x in (result.plan, result.value, result.marginal_error, cost.grad):
        assert torch.isfinite(x).all()
    assert torch.allclose(result.plan.sum((1, 2)), torch.ones(len(SIZES)), atol=1e-4)


@pytest.mark.parametrize(
    "change, facts",
    [
        ({"edge_weight": -0.1}, "edge_weight -0.1"),
        ({"edge_weight": 1.1}, "edge_weight 1.1"),
        ({"edge_weight": float("nan")}, "edge_weight nan"),
        ({"epsilon": -1.0}, "epsilon -1.0"),
        ({"method": "newton"}, "method projected_gradient proximal 'newton'"),
        ({"method": "proximal", "plan_gradient": "implicit"}, "plan_gradient implicit unroll"),
        ({"max_outer": 0}, "max_outer 0"),
        ({"max_inner": 1.5}, "max_inner 1.5"),
        ({"backend": "triton"}, "backend auto torch 'triton'"),
        ({"edges_a": None}, "edges_a sinkhorn"),
        ({"edges_a": np.zeros((2, 4, 3))}, "edges_a (2, 4, 4) (2, 4, 3)"),
        ({"edges_b": np.zeros((3, 3))}, "edges_b (2, 3, 3) (3, 3)"),
        ({"edges_b": np.full((2, 3, 3), np.inf)}, "edges_b item 0 NaN"),
        ({"edges_a": np.triu(np.ones((2, 4, 4)))}, "edges_a item 0 symmetric"),
        ({"edges_a": np.zeros((2, 4, 4), dtype=np.float32)}, "edges_a float32 float64"),
        ({"lengths_a": [4, 5]}, "lengths_a item 1"),
    ],
)
def test_bad_input_is_refused(change, facts, refusal):
    arguments = {"node_cost": (2, 4, 3), "edges_a": (2, 4, 4), "edges_b": (2, 3, 3)}
    arguments = {name: np.zeros(shape) for name, shape in arguments.items()}
    with refusal(*facts.split()):
        fused_gromov_wasserstein(**{**arguments, **change})


@pytest.mark.integration
def test_import_needs_torch_alone():
    """Everything third-party that torch does not import by itself is blocked."""
    code = """
import sys, torch
allowed = {name.split(".")[0] for name in sys.modules} | {"gmot"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        root = name.split(".")[0]
        if root in allowed or root in getattr(sys, "stdlib_module_names", sys.builtin_module_names):
            return None
        raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocker())
import gmot.ot
gmot.ot.fused_gromov_wasserstein(torch.rand(3, 2), torch.zeros(3, 3), torch.zeros(2, 2))
unwanted = {"scipy", "lhotse", "k2", "transformers", "ot"} & set(sys.modules)
assert not unwanted, unwanted
"""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
