"""Losses, settings and adapter of knowledge transfer against the papers' formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import gromov

from benchmarks.rows import ROWS, load_row
from gmot.config import ConfigError
from gmot.model.adapter import Adapter
from gmot.transfer.config import TransferConfig, solver_convention
from gmot.transfer.losses import combine, transport_loss

H_LENS, Z_LENS = [9, 6, 4], [5, 3, 2]


def features(seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    h, z = rng.normal(size=(3, 9, 8)), rng.normal(size=(3, 5, 8))
    return torch.from_numpy(h).to(dtype), torch.from_numpy(z).to(dtype)


def exact(settings):
    return replace(settings, max_inner=50000, tolerance=1e-14, backend="torch")


def edges_of(settings, x):
    if settings.edges == "cosine":
        return gromov.cosine_distance(x, x)
    steps = np.arange(len(x))
    return 1 - np.exp(-np.abs(steps[:, None] - steps) / (0.1 * len(x)))


def plan_of(settings, cost, edges, a, b):
    """Of the papers' iterations; without edges that of the one Sinkhorn that they are."""
    if settings.alpha > 0:
        return gromov.gm_ot(cost, *edges, a, b, settings.alpha, settings.beta, settings.max_outer)[
            -1
        ]
    if settings.reach_a is not None:
        return gromov.unbalanced(cost, a, b, settings.beta, settings.reach_a, settings.reach_b)
    steps = settings.max_outer if settings.method == "proximal" else 1
    return gromov.exact_sinkhorn(cost, a, b, settings.beta / steps)


def value_of(settings, cost, edges, plan, a, b):
    """GM-OT Eq. 12; CMA-OT Eq. 9 and TOT Eq. 15; UOT Eq. 5."""
    node, entropy = (cost * plan).sum(), (plan * np.log(plan)).sum()
    if settings.reach_a is not None:
        penalty_a = settings.reach_a * gromov.divergence(plan.sum(1), a)
        penalty_b = settings.reach_b * gromov.divergence(plan.sum(0), b)
        return node + settings.beta * (entropy - plan.sum() + 1) + penalty_a + penalty_b
    if settings.entropy_in_value:
        return node + settings.beta * entropy
    quadratic = (gromov.tensor_product(*edges, plan) * plan).sum()
    return (1 - settings.alpha) * node + settings.alpha * quadratic


@pytest.mark.integration
@pytest.mark.parametrize("name", [n for n, s in ROWS.items() if s.objective == "transport"])
def test_oracle_losses_are_the_papers_equations(name):
    """All systems with a coupling, in numpy, with the numbers of the table."""
    settings = load_row(name)
    h, z = features()
    loss = transport_loss(h, z, H_LENS, Z_LENS, exact(settings))
    for n, (la, lt) in enumerate(zip(H_LENS, Z_LENS)):
        x, y = h[n, :la].numpy(), z[n, :lt].numpy()
        i, j = np.arange(1, la + 1)[:, None] / la, np.arange(1, lt + 1)[None, :] / lt
        resolution = 1 / la**2 + 1 / lt**2 if settings.positional == "tot" else 1
        cost = gromov.cosine_distance(x, y) + settings.rho * (i - j) ** 2 / resolution
        edges = edges_of(settings, x), edges_of(settings, y)
        a, b = np.full(la, 1 / la), np.full(lt, 1 / lt)
        plan = plan_of(settings, cost, edges, a, b)
        np.testing.assert_allclose(loss.result.plan[n, :la, :lt].numpy(), plan, atol=1e-9)
        moved = plan.T @ x
        align = [gromov.cosine_distance(moved[k : k + 1], y[k : k + 1])[0, 0] for k in range(lt)]
        counted = align if settings.alignment_tokens == "all" else align[1 : lt - 1]
        assert loss.alignment[n].item() == pytest.approx(sum(counted), abs=1e-8)
        mean = np.mean(counted) if counted else 0
        assert loss.alignment_mean[n].item() == pytest.approx(mean, abs=1e-8)
        expected = value_of(settings, cost, edges, plan, a, b)
        assert loss.transport[n].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.integration
@pytest.mark.parametrize("alpha", [0.02, 0.3, 1.0])
def test_oracle_convention_holds_at_every_step(alpha):
    """Not only at a fixed point: after 1, 2, 3 steps of Eq. 13-14 the plans agree."""
    from gmot.ot import fused_gromov_wasserstein

    problem = gromov.random_problem(np.random.default_rng(1), 8, 5)
    a, epsilon = solver_convention(alpha, 0.2)
    for steps, plan in enumerate(gromov.gm_ot(*problem, alpha, 0.2, 3), start=1):
        found = fused_gromov_wasserstein(
            *problem, edge_weight=a, epsilon=epsilon, method="proximal",
            max_outer=steps, max_inner=5000, tolerance=1e-14,
        )  # fmt: skip
        np.testing.assert_allclose(found.plan.numpy(), plan, atol=1e-11)


def test_convention_of_the_value():
    """F_eps = c ((1 - alpha) node + alpha/2 edge + beta entropy), c = 2 / (2 - alpha)."""
    settings = replace(load_row("gm_ot"), alpha=0.4)
    result = transport_loss(*features(), H_LENS, Z_LENS, settings).result
    descended = 0.6 * result.node + 0.2 * result.edge + settings.beta * result.entropy
    assert torch.allclose(result.value, descended * 2 / 1.6)


def test_the_adapter_alone_learns_by_ctc_alone():
    settings = load_row("ctc_adapter")
    h, z = features(seed=8)
    ctc = torch.tensor([3.0, 1.0, 2.0], dtype=h.dtype, requires_grad=True)
    loss = transport_loss(h.requires_grad_(), z, H_LENS, Z_LENS, settings)
    total = combine(ctc, loss, settings).mean()
    total.backward()
    assert total.item() == ctc.mean().item()
    assert not h.grad.any() and torch.equal(ctc.grad, torch.full_like(ctc, 1 / 3))


@pytest.mark.parametrize("name, leads_back", [("cma_ot_no_residual", False), ("cma_ot", True)])
def test_the_adapters_way_back_can_be_cut(name, leads_back):
    """Frames are brought to the teacher's space in any case."""
    adapter = Adapter(6, 8, load_row(name).adapter_scale)
    h = torch.from_numpy(np.random.default_rng(9).normal(size=(2, 5, 6))).float()
    out, nodes = adapter(h)
    assert torch.equal(out, h) is not leads_back
    assert torch.equal(nodes, adapter.fc2(h))


@pytest.mark.parametrize(
    "change, key",
    [
        ({"reach_a": 1.0, "method": "proximal", "max_outer": 10}, "method"),
        ({"alpha": 0.1, "entropy_in_value": True}, "entropy_in_value"),
        ({"objective": "distillation"}, "objective"),
        ({"block_step": -1}, "block_step"),
        ({"alignment_tokens": "first"}, "alignment_tokens"),
        ({"alpha": 1.5}, "alpha"),
        ({"beta": 0.0}, "beta"),
        ({"rho": float("nan")}, "rho"),
        ({"positional": "none"}, "positional"),
        ({"edges": "knn"}, "edges"),
    ],
)
def test_contradictory_configurations(change, key):
    with pytest.raises(ConfigError) as error:
        load_row("cma_ot", **{"entropy_in_value": False, **change})
    assert error.value.key == key


def test_oracle_gradient_holds_the_plan():
    """Both losses, differentiated by finite differences with the plan of the start kept."""
    settings = replace(load_row("gm_ot"), alpha=0.3)
    h, z = features(seed=2)
    h.requires_grad_()
    loss = transport_loss(h, z, H_LENS, Z_LENS, settings)
    assert not loss.result.plan.requires_grad
    (loss.alignment + 2 * loss.transport).sum().backward()
    direction = torch.from_numpy(np.random.default_rng(3).normal(size=tuple(h.shape)))

    def value(h):
        total = 0
        for n, (la, lt) in enumerate(zip(H_LENS, Z_LENS)):
            x, y, plan = h[n, :la].numpy(), z[n, :lt].numpy(), loss.result.plan[n, :la, :lt].numpy()
            node = (gromov.cosine_distance(x, y) * plan).sum()
            edges = gromov.cosine_distance(x, x), gromov.cosine_distance(y, y)
            quadratic = (gromov.tensor_product(*edges, plan) * plan).sum()
            align = np.diag(gromov.cosine_distance(plan.T @ x, y))[1 : lt - 1].sum()
            total += align + 2 * (0.7 * node + 0.3 * quadratic)
        return total

    start, step = h.detach(), 1e-5
    numeric = (value(start + step * direction) - value(start - step * direction)) / (2 * step)
    assert (h.grad * direction).sum().item() == pytest.approx(numeric, rel=1e-6)


def test_unrolled_plan_trains_the_alignment():
    settings = replace(load_row("gm_ot"), plan_gradient="unroll")
    gradients = []
    for s in (settings, replace(settings, plan_gradient="detach")):
        h, z = features(seed=4)
        transport_loss(h.requires_grad_(), z, H_LENS, Z_LENS, s).alignment.sum().backward()
        gradients.append(h.grad)
    assert torch.isfinite(gradients[0]).all()
    assert (gradients[0] - gradients[1]).abs().max() > 1e-6


def test_an_utterance_does_not_depend_on_its_batch_mates():
    h, z = features(seed=5, dtype=torch.float32)
    z.mul_(1 + torch.arange(5)[:, None])  # nothing to do with scale: costs are cosines
    settings = load_row("gm_ot")
    h.requires_grad_()
    together = transport_loss(h, z, H_LENS, Z_LENS, settings)
    (together.alignment + together.transport).sum().backward()
    for n, (la, lt) in enumerate(zip(H_LENS, Z_LENS)):
        x = h[n : n + 1, :la].detach().requires_grad_()
        alone = transport_loss(x, z[n : n + 1, :lt], [la], [lt], settings)
        (alone.alignment + alone.transport).sum().backward()
        for field in ("alignment", "transport"):
            found = getattr(together, field)[n].item()
            assert found == pytest.approx(getattr(alone, field).item(), abs=1e-6)
        assert (h.grad[n, :la] - x.grad[0]).abs().max() < 1e-6
        assert not h.grad[n, la:].any()


def test_autocast_does_not_change_the_loss():
    h, z = features(seed=6, dtype=torch.float32)
    expected = transport_loss(h, z, H_LENS, Z_LENS, load_row("gm_ot"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = transport_loss(h, z, H_LENS, Z_LENS, load_row("gm_ot"))
        half = transport_loss(h.bfloat16(), z, H_LENS, Z_LENS, load_row("gm_ot"))
    assert torch.equal(found.transport, expected.transport)
    assert torch.equal(found.alignment, expected.alignment)
    assert half.transport.dtype == torch.float32
    assert torch.allclose(half.transport, expected.transport, atol=2e-2)


@pytest.mark.parametrize("method", ["proximal", "projected_gradient"])
def test_edges_and_relaxed_marginals(method):
    """GM-OT with UOT's penalties: finite losses and gradients, mass below 1; huge: GM-OT."""
    base = replace(load_row("gm_ot"), alpha=0.3, beta=0.2, method=method, max_inner=200)
    h, z = features(seed=10)
    balanced = transport_loss(h, z, H_LENS, Z_LENS, base)
    leaf = h.clone().requires_grad_()
    loss = transport_loss(leaf, z, H_LENS, Z_LENS, replace(base, reach_a=0.5, reach_b=1.0))
    (loss.alignment + loss.transport).sum().backward()
    for x in (loss.alignment, loss.transport, loss.result.value, leaf.grad):
        assert torch.isfinite(x).all()
    mass = loss.result.plan.sum((1, 2))
    assert (mass > 0.01).all() and (mass < 0.99).all()
    huge = transport_loss(h, z, H_LENS, Z_LENS, replace(base, reach_a=1e7, reach_b=1e7))
    for field in ("alignment", "alignment_mean", "transport"):
        expected = getattr(balanced, field)
        torch.testing.assert_close(getattr(huge, field), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(huge.result.plan, balanced.result.plan, atol=1e-4, rtol=0)


def test_convention_of_reaches_is_the_step_of_the_docstring():
    """With one marginal kept the mass is 1; one step in the papers' numbers, written out."""
    problem = gromov.random_problem(np.random.default_rng(11), 7, 4)
    cost, edges_a, edges_b, a, b = problem
    settings = TransferConfig(alpha=0.4, beta=0.3, reach_a=0.7)
    from gmot.ot import fused_gromov_wasserstein

    reach_a, reach_b = settings.solver_reaches
    assert reach_b is None
    found = fused_gromov_wasserstein(
        *problem, edge_weight=settings.solver_alpha, epsilon=settings.epsilon, reach_a=reach_a,
        method="proximal", max_outer=1, max_inner=5000, tolerance=1e-14,
    ).plan.numpy()  # fmt: skip
    start = np.outer(a, b)
    step = 0.6 * cost + 0.4 * gromov.tensor_product(edges_a, edges_b, start)
    # beta KL(P || P_old) is an entropy with P_old in the cost.
    expected = gromov.unbalanced(step - 0.3 * np.log(start), a, b, 0.3, 0.7, 1e12)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_silent_frames_give_finite_gradients():
    h, z = features(seed=7, dtype=torch.float32)
    h[0] = 0
    h.requires_grad_()
    loss = transport_loss(h, z, H_LENS, Z_LENS, load_row("gm_ot"))
    combine(torch.zeros(3), loss, load_row("gm_ot")).mean().backward()
    assert torch.isfinite(h.grad).all()


def test_combine_is_equation_18():
    settings = load_row("gm_ot")
    loss = transport_loss(*features(), H_LENS, Z_LENS, settings)
    ctc = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    expected = 0.3 * ctc + 0.7 * (loss.alignment + loss.transport)
    torch.testing.assert_close(combine(ctc, loss, settings), expected)
    by_token = replace(settings, alignment_reduction="mean", ctc_weight=0.5)
    expected = 0.5 * (ctc + loss.alignment_mean + loss.transport)
    torch.testing.assert_close(combine(ctc, loss, by_token), expected)
    with pytest.raises(ValueError, match=r"ctc.*\(3,\)"):
        combine(ctc.mean(), loss, settings)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"h": torch.zeros(0, 4, 8)}, "h: empty batch"),
        ({"h": torch.zeros(4, 8)}, "h: expected floating"),
        ({"z": torch.zeros(2, 3, 7)}, "h and z: expected the same batch and width"),
        ({"z": torch.zeros(2, 3, 8).double()}, "h and z: torch.float32"),
        ({"z": torch.zeros(2, 3, 8, device="meta")}, "h and z: .* on meta"),
        ({"h_lengths": [4, 0]}, "h_lengths: item 1 is empty"),
        ({"z_lengths": [4, 3]}, "z_lengths: item 0 is longer"),
        ({"h": torch.full((2, 4, 8), float("nan"))}, "h: item 0 has NaN"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {
        "h": torch.randn(2, 4, 8),
        "z": torch.randn(2, 3, 8),
        "h_lengths": [4, 4],
        "z_lengths": [3, 3],
        **change,
    }
    with pytest.raises(ValueError, match=message):
        transport_loss(**arguments, config=load_row("gm_ot"))


def test_adapter_is_equation_17():
    adapter = Adapter(6, 10, 0.3)
    x = torch.randn(2, 5, 6)
    out, nodes = adapter(x)
    expected = x @ adapter.fc2.weight.t() + adapter.fc2.bias
    assert torch.allclose(nodes, expected, atol=1e-6)

    def norm(v):
        return (v - v.mean(-1, keepdim=True)) / (
            v.var(-1, unbiased=False, keepdim=True) + 1e-5
        ).sqrt()

    back = norm(norm(expected) @ adapter.fc3.weight.t() + adapter.fc3.bias)
    assert torch.allclose(out, x + 0.3 * back, atol=1e-4)
    assert torch.equal(Adapter(6, 10, 0.0)(x)[0], x)
