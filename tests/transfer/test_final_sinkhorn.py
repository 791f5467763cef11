"""Both readings of the sentence after GM-OT's Eq. 14, against loops in numpy (float64)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import gromov

from benchmarks.rows import load_row
from gmot.analysis.plan_measures import measure_plan
from gmot.common import GmotError
from gmot.transfer.losses import transport_loss

H_LENS, Z_LENS = [9, 6, 4], [5, 3, 2]


def features(seed=0):
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(rng.normal(size=(3, size, 8))) for size in (9, 5))


def chosen(name, **changes):
    exact = {"max_inner": 5000, "tolerance": 1e-14, "max_outer": 4, "backend": "torch"}
    return replace(load_row(name), final_sinkhorn=True, **{**exact, **changes})


def problem(settings, x, y):
    """Cost, edges and marginals of one utterance."""
    la, lt = len(x), len(y)
    i, j = np.arange(1, la + 1)[:, None] / la, np.arange(1, lt + 1)[None, :] / lt
    cost = gromov.cosine_distance(x, y) + settings.rho * (i - j) ** 2
    if settings.edges == "temporal":
        edges = [
            1 - np.exp(-np.abs(np.arange(n)[:, None] - np.arange(n)) / (0.1 * n)) for n in (la, lt)
        ]
    else:
        edges = [gromov.cosine_distance(v, v) for v in (x, y)]
    return cost, *edges, np.full(la, 1 / la), np.full(lt, 1 / lt)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gm_ot_setting5", {}),
        ("gm_ot_setting7", {}),
        ("gm_ot", {"alpha": 0.6, "beta": 0.3}),
        ("gm_ot_no_edges", {}),
        ("gm_ot_temporal", {"alpha": 0.3}),
    ],
)
def test_the_last_solve_is_eq_7_on_the_cost_of_eq_14(name, changes):
    """Plan, node and edge parts (Eq. 12) and alignment (Eq. 16) of three utterances."""
    settings = chosen(name, **changes)
    h, z = features()
    loss = transport_loss(h, z, H_LENS, Z_LENS, settings)
    for n, (la, lt) in enumerate(zip(H_LENS, Z_LENS)):
        x, y = h[n, :la].numpy(), z[n, :lt].numpy()
        cost, ea, eb, a, b = problem(settings, x, y)
        last = gromov.gm_ot(cost, ea, eb, a, b, settings.alpha, settings.beta, settings.max_outer)
        unified = (1 - settings.alpha) * cost
        unified += settings.alpha * gromov.tensor_product(ea, eb, last[-1])
        plan = gromov.sinkhorn(unified, a, b, settings.beta)
        np.testing.assert_allclose(loss.result.plan[n, :la, :lt].numpy(), plan, atol=1e-10)
        assert not loss.result.plan[n, la:].any() and not loss.result.plan[n, :, lt:].any()
        node, edge = (cost * plan).sum(), (gromov.tensor_product(ea, eb, plan) * plan).sum()
        entropy = (plan * np.log(plan)).sum()
        alpha, beta = settings.alpha, settings.beta
        if alpha > 0:
            assert loss.result.edge[n].item() == pytest.approx(edge, abs=1e-10)
        assert loss.result.node[n].item() == pytest.approx(node, abs=1e-10)
        expected = (1 - alpha) * node + alpha * edge
        assert loss.transport[n].item() == pytest.approx(expected, abs=1e-10)
        descended = (1 - alpha) * node + alpha / 2 * edge + beta * entropy
        value = loss.result.value[n].item()
        assert value == pytest.approx(descended * 2 / (2 - alpha), abs=1e-10)
        moved = plan.T @ x
        align = np.diag(gromov.cosine_distance(moved, y))[1 : lt - 1].sum()
        assert loss.alignment[n].item() == pytest.approx(align, abs=1e-8)


def test_the_plan_is_held_in_the_gradient():
    """Against central differences of Eq. 12 and 16 at the plan that was found."""
    settings = chosen("gm_ot", alpha=0.3)
    h, z = features(seed=2)
    h.requires_grad_()
    loss = transport_loss(h, z, H_LENS, Z_LENS, settings)
    assert not loss.result.plan.requires_grad
    (loss.alignment + 2 * loss.transport).sum().backward()
    direction = torch.from_numpy(np.random.default_rng(3).normal(size=tuple(h.shape)))

    def value(h):
        total = 0
        for n, (la, lt) in enumerate(zip(H_LENS, Z_LENS)):
            x, y = h[n, :la].numpy(), z[n, :lt].numpy()
            plan = loss.result.plan[n, :la, :lt].numpy()
            cost, ea, eb, _, _ = problem(settings, x, y)
            edge = (gromov.tensor_product(ea, eb, plan) * plan).sum()
            align = np.diag(gromov.cosine_distance(plan.T @ x, y))[1 : lt - 1].sum()
            total += align + 2 * (0.7 * (cost * plan).sum() + 0.3 * edge)
        return total

    start, step = h.detach(), 1e-5
    numeric = (value(start + step * direction) - value(start - step * direction)) / (2 * step)
    assert (h.grad * direction).sum().item() == pytest.approx(numeric, rel=1e-6)


def test_an_unrolled_plan_has_the_gradient_of_both_solves():
    settings = chosen("gm_ot", alpha=0.3, max_inner=100, max_outer=3, plan_gradient="unroll")
    h, z = features(seed=4)
    weights = torch.from_numpy(np.random.default_rng(5).normal(size=(3, 9, 5)))

    def plan(h):
        return (transport_loss(h, z, H_LENS, Z_LENS, settings).result.plan * weights).sum()

    h.requires_grad_()
    plan(h).backward()
    direction = torch.from_numpy(np.random.default_rng(6).normal(size=tuple(h.shape)))
    start, step = h.detach(), 1e-5
    numeric = (plan(start + step * direction) - plan(start - step * direction)) / (2 * step)
    assert (h.grad * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-5)


def test_an_utterance_does_not_depend_on_its_batch_mates():
    settings = replace(load_row("gm_ot"), final_sinkhorn=True)
    h, z = (x.float() for x in features(seed=5))
    together = transport_loss(h, z, H_LENS, Z_LENS, settings)
    for n, (la, lt) in enumerate(zip(H_LENS, Z_LENS)):
        alone = transport_loss(h[n : n + 1, :la], z[n : n + 1, :lt], [la], [lt], settings)
        for field in ("alignment", "transport"):
            found = getattr(together, field)[n].item()
            assert found == pytest.approx(getattr(alone, field).item(), abs=1e-6)


def test_what_the_readings_do_to_the_plan():
    """The claim of docs/readings.md, of frames that follow their tokens with noise."""
    rng = np.random.default_rng(8)
    z = rng.normal(size=(4, 16, 64))
    h = np.repeat(z, 7, axis=1) + 0.5 * rng.normal(size=(4, 112, 64))
    lens = torch.full((4,), 112), torch.full((4,), 16)
    sharp, flat = (
        transport_loss(
            *(torch.from_numpy(x) for x in (h, z)),
            *lens,
            replace(load_row("gm_ot_setting5"), final_sinkhorn=last),
        )
        for last in (False, True)
    )
    diffuseness = [measure_plan(x.result.plan, *lens).diffuseness for x in (sharp, flat)]
    assert (diffuseness[0] < 0.85).all() and (diffuseness[1] > 0.95).all()
    assert (flat.alignment > 1.5 * sharp.alignment).all()


def test_the_default_is_the_last_proximal_step():
    h, z = features(seed=7)
    for name in ("gm_ot", "gm_ot_no_edges"):
        assert not load_row(name).final_sinkhorn
        one, two = (
            transport_loss(h, z, H_LENS, Z_LENS, replace(load_row(name), final_sinkhorn=last))
            for last in (False, True)
        )
        lens = torch.tensor(H_LENS), torch.tensor(Z_LENS)
        sharp, flat = (measure_plan(x.result.plan, *lens).diffuseness for x in (one, two))
        assert (sharp < flat).all()


@pytest.mark.parametrize("name", ["ctc", "ctc_adapter", "cma_ot", "tot", "uot", "hcm"])
def test_it_is_for_proximal_steps(name):
    with pytest.raises(GmotError, match="final_sinkhorn"):
        load_row(name, final_sinkhorn=True)
