"""What the papers say or imply of each other's systems, and what the solver rests on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import gromov

from benchmarks.rows import load_row
from gmot.ot import CosineEdges, fused_gromov_wasserstein, sinkhorn
from gmot.transfer.cross_modal import sinkhorn_attention
from gmot.transfer.losses import transport_loss
from gmot.transfer.sequence_graphs import positional_cost, unit

H_LENS, Z_LENS = torch.tensor([12, 9]), torch.tensor([6, 4])
LENGTHS = {"lengths_a": H_LENS, "lengths_b": Z_LENS}
EXACT = {"tolerance": 1e-13, "max_outer": 1000, "max_inner": 2000}
BACKENDS = pytest.mark.parametrize("backend", ["torch", "cpu"])


def features(seed=0, width=8):
    torch.manual_seed(seed)
    h = torch.randn(2, 12, width, dtype=torch.float64)
    return h, torch.randn(2, 6, width, dtype=torch.float64)


def costs(seed=0):
    """Node cost, edges of both graphs; cosine."""
    h, z = (unit(x) for x in features(seed))
    return 1 - h @ z.transpose(1, 2), CosineEdges(h), CosineEdges(z)


def speech(seed=0, tokens=8, frames=64, width=32, noise=1.0):
    """Frames that repeat their token's vector for a random while, and whose they are."""
    torch.manual_seed(seed)
    z = torch.randn(1, tokens, width)
    owner = (torch.rand(frames - tokens) * tokens).long()
    owner = torch.cat((owner, torch.arange(tokens))).sort().values
    return z[:, owner] + noise * torch.randn(1, frames, width), z, owner


@BACKENDS
def test_alpha_0_is_sinkhorn(backend):
    cost, *edges = costs(1)
    fused = fused_gromov_wasserstein(
        cost, *edges, edge_weight=0, **LENGTHS, **EXACT, backend=backend
    )
    linear = sinkhorn(cost, tolerance=1e-13, max_iterations=5000, **LENGTHS, backend=backend)
    assert torch.allclose(fused.plan, linear.plan, atol=1e-12)
    assert torch.allclose(fused.value, linear.value, atol=1e-12)


@BACKENDS
def test_proximal_steps_at_alpha_0_equal_one_sinkhorn_at_beta_over_t(backend):
    cost, *edges = costs(2)
    fused = fused_gromov_wasserstein(
        cost, *edges, edge_weight=0, epsilon=0.5, method="proximal", **LENGTHS,
        max_outer=5, max_inner=5000, tolerance=1e-14, backend=backend,
    )  # fmt: skip
    linear = sinkhorn(
        cost, epsilon=0.1, tolerance=1e-14, max_iterations=5000, **LENGTHS, backend=backend
    )
    assert torch.allclose(fused.plan, linear.plan, atol=1e-11)


def test_tot_equals_gm_ot_with_rho_of_each_length():
    """rho = beta / (1 / l_a^2 + 1 / l_t^2), one utterance at a time: it depends on the lengths."""
    h, z = features(3)
    tot = load_row("tot")
    together = transport_loss(h, z, H_LENS, Z_LENS, tot)
    for n, (frames, tokens) in enumerate(zip(H_LENS.tolist(), Z_LENS.tolist())):
        rho = tot.rho / (1 / frames**2 + 1 / tokens**2)
        gm_ot = replace(tot, positional="gm_ot", rho=rho)
        alone = transport_loss(
            h[n : n + 1, :frames], z[n : n + 1, :tokens], [frames], [tokens], gm_ot
        )
        expected = together.result.plan[n, :frames, :tokens]
        assert torch.allclose(alone.result.plan[0], expected, atol=1e-12)
        assert torch.allclose(alone.transport[0], together.transport[n], atol=1e-12)
    lens = torch.tensor([12]), torch.tensor([6])
    rho = 0.5 / (1 / 144 + 1 / 36)
    assert torch.allclose(
        positional_cost("tot", *lens, 12, 6, 0.5), positional_cost("gm_ot", *lens, 12, 6, rho)
    )


def test_uot_tends_to_cma_ot_as_lambda_grows():
    h, z = features(4)
    exact = {"max_inner": 20000, "tolerance": 1e-12}
    cma_ot = replace(load_row("cma_ot"), **exact)
    balanced = transport_loss(h, z, H_LENS, Z_LENS, cma_ot)
    distances = []
    for reach in (0.1, 1.0, 10.0, 100.0, 1000.0, 1e5):
        uot = replace(load_row("uot"), beta=cma_ot.beta, reach_a=reach, reach_b=reach, **exact)
        loose = transport_loss(h, z, H_LENS, Z_LENS, uot)
        distances.append((loose.result.plan - balanced.result.plan).abs().sum().item())
    assert all(later < earlier for earlier, later in zip(distances, distances[1:]))
    assert distances[-1] < 1e-5
    assert torch.allclose(loose.transport, balanced.transport, atol=1e-5)


def test_one_row_normalisation_of_sinkhorn_attention_is_softmax_attention():
    """HCM (arXiv 2309.16093), Eq. 13."""
    h, z = features(5)
    frames = torch.arange(12) < H_LENS.unsqueeze(1)
    tokens = torch.arange(6) < Z_LENS.unsqueeze(1)
    scores = z @ h.transpose(1, 2)
    gamma = sinkhorn_attention(-scores, tokens, frames, epsilon=1.0, normalizations=1)
    softmax = scores.masked_fill(~frames.unsqueeze(1), -float("inf")).softmax(2)
    assert torch.allclose(gamma, softmax * tokens.unsqueeze(2), atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_objective_of_cosine_edges_is_concave_in_the_cross_moment(alpha):
    """F = const - (1 - alpha) tr A - 2 alpha |A|_F^2, A = X^T P Y, on the polytope."""
    h, z = (unit(x[:1]) for x in features(6))
    cost, edges = 1 - h @ z.transpose(1, 2), (CosineEdges(h), CosineEdges(z))
    constants = []
    for epsilon in (0.05, 0.1, 1.0, 10.0):
        # Any plan of the polytope: here those of Sinkhorn.
        plan = sinkhorn(cost, epsilon=epsilon, tolerance=1e-13, max_iterations=20000).plan
        node = (cost * plan).sum()
        squares = (edges[0].dense()[0][:, :, None, None] - edges[1].dense()[0]).square()
        edge = torch.einsum("ijkl,ik,jl->", squares, plan[0], plan[0])
        moment = h[0].T @ plan[0] @ z[0]
        value = (1 - alpha) * node + alpha * edge
        reduction = (1 - alpha) * moment.trace() + 2 * alpha * moment.square().sum()
        constants.append((value + reduction).item())
    assert np.ptp(constants) < 1e-9


@BACKENDS
@pytest.mark.parametrize("alpha, epsilon", [(0.5, 0.05), (1.0, 0.05)])
def test_projected_gradient_never_increases_the_objective(alpha, epsilon, backend):
    """F is concave on the polytope of cosine costs: its linearisation bounds it from above."""
    h, z, _ = speech(frames=32, tokens=5)
    h, z = unit(h.double()), unit(z.double())
    values = [
        fused_gromov_wasserstein(
            1 - h @ z.transpose(1, 2), CosineEdges(h), CosineEdges(z), edge_weight=alpha,
            epsilon=epsilon, max_outer=n, max_inner=1000, tolerance=1e-13, backend=backend,
        ).value.item()
        for n in range(1, 10)
    ]  # fmt: skip
    assert values[-1] < values[0] - 1e-4
    assert all(later <= earlier + 1e-10 for earlier, later in zip(values, values[1:]))


@BACKENDS
def test_permuting_the_nodes_permutes_the_plan(backend):
    rng = np.random.default_rng(8)
    cost, edges_a, edges_b, a, b = gromov.random_problem(rng, 7, 5)
    p, q = rng.permutation(7), rng.permutation(5)
    options = {"edge_weight": 0.5, "epsilon": 0.1, "backend": backend, **EXACT}
    plan = fused_gromov_wasserstein(cost, edges_a, edges_b, a, b, **options).plan.numpy()
    permuted = fused_gromov_wasserstein(
        cost[p][:, q], edges_a[p][:, p], edges_b[q][:, q], a[p], b[q], **options
    ).plan.numpy()
    np.testing.assert_allclose(permuted, plan[p][:, q], atol=1e-10)


@pytest.mark.parametrize(
    "name", ["cma_ot", "tot", "uot", "gm_ot", "gm_ot_no_edges", "gm_ot_no_order", "gm_ot_temporal"]
)
def test_monotone_alignments_are_recovered(name):
    h, z, owner = speech()
    system = load_row(name)
    loss = transport_loss(h, z, [64], [8], system)
    assert (loss.result.plan[0].argmax(1) == owner).float().mean() > 0.85
    noise, _, _ = speech(seed=1)
    other = transport_loss(noise, z, [64], [8], system)
    assert loss.alignment < other.alignment and loss.result.node < other.result.node


@BACKENDS
def test_edges_alone_find_what_corresponds(backend):
    """alpha near 1: a hint breaks the symmetry of a b^T, the edges do the rest."""
    torch.manual_seed(9)
    z = unit(torch.randn(1, 6, 3, dtype=torch.float64))
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    order = torch.randperm(6)
    h = (z @ rotation)[:, order]  # no frame can be compared with a token
    hint = 1 - 0.1 * torch.nn.functional.one_hot(order, 6).double().unsqueeze(0)
    hint[0, 3:] = 1
    edges = CosineEdges(h), CosineEdges(z)
    options = {"epsilon": 0.005, "backend": backend, "max_outer": 300}
    result = fused_gromov_wasserstein(hint, *edges, edge_weight=0.9, **options)
    assert torch.equal(result.plan[0].argmax(1), order)
