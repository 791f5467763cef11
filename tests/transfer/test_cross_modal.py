"""HCM against its equations (arXiv 2309.16093), in numpy, one utterance at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import gromov
from torch.nn.utils.rnn import pad_sequence

from benchmarks.rows import load_row
from gmot.transfer.cross_modal import CrossModalEncoder, CrossModalTransfer, sinkhorn_attention
from gmot.transfer.losses import combine
from gmot.transfer.objective import make_objective

LENS, LABELS, WIDTH, VOCAB = [9, 6, 4], [[2, 3, 2], [4], []], 8, 5
Z_LENS = [len(ids) + 2 for ids in LABELS]


def padded(labels):
    """(N, S) ids and (N,) lengths."""
    rows = [torch.tensor(ids, dtype=torch.int64) for ids in labels]
    return pad_sequence(rows, batch_first=True), torch.tensor([len(ids) for ids in labels])


def inputs(blocks=2, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    h = torch.from_numpy(rng.normal(size=(blocks, 3, 9, WIDTH))).to(dtype)
    return list(h), torch.from_numpy(rng.normal(size=(3, 5, WIDTH))).to(dtype)


def transfer(dtype=torch.float64, **changes):
    torch.manual_seed(0)
    settings = replace(load_row("hcm"), cross_modal_layers=3, **changes)
    module = CrossModalTransfer(settings, VOCAB, WIDTH).to(dtype)
    for name, parameter in module.named_parameters():
        if "norm" in name:  # at 1 and 0 they would hide a mistake
            torch.nn.init.normal_(parameter, mean=float("weight" in name), std=0.2)
    return module


def layer_norm(x, weights, name):
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def sinkhorn(cost, epsilon, normalizations):
    """Eq. 11."""
    gamma = np.exp(-cost / epsilon)
    for step in range(normalizations):
        gamma = gamma / gamma.sum(1 - step % 2, keepdims=True)
    return gamma


def encode(weights, settings, ids, h):
    """Eq. 3-5, 8, 9: Z_M, and the last layer's coupling and cost."""
    ids = [VOCAB, *ids, VOCAB + 1]
    positions = np.zeros((len(ids), WIDTH))
    for p in range(len(ids)):
        for k in range(WIDTH // 2):
            angle = p / 10000 ** (2 * k / WIDTH)
            positions[p, 2 * k : 2 * k + 2] = np.sin(angle), np.cos(angle)
    z = weights["encoder.embedding.weight"][ids] + positions
    for number in range(settings.cross_modal_layers):
        name = f"encoder.layers.{number}"
        cost = gromov.cosine_distance(z, h)
        gamma = sinkhorn(cost, settings.beta, 2 * settings.sinkhorn_iterations)
        z = layer_norm(z + gamma @ h, weights, f"{name}.norm_attention")
        linear = z @ weights[f"{name}.fc.weight"].T + weights[f"{name}.fc.bias"]
        z = layer_norm(z + linear, weights, f"{name}.norm_fc")
    return z, gamma, cost


@pytest.mark.parametrize(
    "changes",
    [{}, {"beta": 0.1}, {"sinkhorn_iterations": 1}, {"entropy_in_value": False},
     {"alignment_tokens": "all"}],
    ids=str,
)  # fmt: skip
def test_oracle_losses_are_the_papers_equations(changes):
    module = transfer(**changes)
    settings = module.config
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    blocks, teacher = inputs()
    loss = module(blocks, LENS, teacher, Z_LENS, *padded(LABELS))
    for n, (frames, tokens) in enumerate(zip(LENS, Z_LENS)):
        alignment = mean = transport = 0
        for block in blocks:
            h, target = block[n, :frames].numpy(), teacher[n, :tokens].numpy()
            z, gamma, cost = encode(weights, settings, LABELS[n], h)
            distances = np.diag(gromov.cosine_distance(z, target))
            if settings.alignment_tokens == "inner":
                distances = distances[1:-1]
            alignment += distances.sum()
            mean += distances.mean() if len(distances) else 0
            plan = gamma / gamma.sum()
            node, entropy = (plan * cost).sum(), (plan * np.log(plan)).sum()
            transport += node + (settings.beta * entropy if settings.entropy_in_value else 0)
        assert loss.alignment[n].item() == pytest.approx(alignment, abs=1e-9)
        assert loss.alignment_mean[n].item() == pytest.approx(mean, abs=1e-9)
        assert loss.transport[n].item() == pytest.approx(transport, abs=1e-9)
        # What is drawn is of the last block.
        result = loss.result
        np.testing.assert_allclose(result.plan[n, :frames, :tokens].numpy(), plan.T, atol=1e-12)
        assert result.plan[n].sum().item() == pytest.approx(1)
        assert result.node[n].item() == pytest.approx(node)
        assert result.entropy[n].item() == pytest.approx(entropy)
        assert result.value[n].item() == pytest.approx(node + settings.beta * entropy)
        error = np.abs(plan.sum(0) - 1 / frames).sum() + np.abs(plan.sum(1) - 1 / tokens).sum()
        assert result.marginal_error[n].item() == pytest.approx(error, abs=1e-9)
        assert result.iterations[n] == settings.sinkhorn_iterations and result.edge[n] == 0
    assert not result.plan.requires_grad


def test_one_normalisation_of_inner_products_is_softmax_attention():
    """Eq. 13."""
    torch.manual_seed(0)
    z, h = torch.randn(3, 5, 8), torch.randn(3, 9, 8)
    frames = torch.arange(9) < torch.tensor(LENS)[:, None]
    tokens = torch.ones(3, 5, dtype=torch.bool)
    cost = -z @ h.transpose(1, 2)
    gamma = sinkhorn_attention(cost, tokens, frames, epsilon=8**0.5, normalizations=1)
    scores = (z @ h.transpose(1, 2) / 8**0.5).masked_fill(~frames[:, None], float("-inf"))
    torch.testing.assert_close(gamma, scores.softmax(2))


@pytest.mark.parametrize("epsilon", [1.0, 0.002])
def test_normalisations_alternate(epsilon):
    """Rows first; at low temperature too, where exp(-C / eps) is 0 in every number."""
    torch.manual_seed(0)
    cost = 1 + torch.rand(2, 4, 7)
    tokens = torch.arange(4) < torch.tensor([4, 2])[:, None]
    frames = torch.arange(7) < torch.tensor([5, 7])[:, None]
    for count in (1, 2, 5, 6):
        gamma = sinkhorn_attention(cost, tokens, frames, epsilon, count)
        sums, mask = (gamma.sum(2), tokens) if count % 2 else (gamma.sum(1), frames)
        torch.testing.assert_close(sums, mask.float(), atol=1e-4, rtol=0)
        assert not gamma[~(tokens[:, :, None] & frames[:, None])].any()


def test_gradient_goes_through_all_normalisations():
    torch.manual_seed(0)
    cost = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([[True] * 3, [True, True, False]])
    frames = torch.tensor([[True] * 4, [True] * 3 + [False]])
    assert torch.autograd.gradcheck(
        lambda c: sinkhorn_attention(c, tokens, frames, 0.3, 6), (cost,)
    )


def test_padding_and_batch_mates_change_nothing():
    module = transfer(torch.float32)
    blocks, teacher = inputs(dtype=torch.float32)

    def run(blocks, lens, teacher, z_lengths, *labels):
        blocks = [b.detach().clone().requires_grad_() for b in blocks]
        loss = module(blocks, lens, teacher, z_lengths, *labels)
        (loss.alignment + loss.transport).sum().backward()
        return loss, [b.grad for b in blocks]

    together, gradients = run(blocks, LENS, teacher, Z_LENS, *padded(LABELS))
    spoiled, spoiled_teacher = [b.clone() for b in blocks], teacher.clone()
    for n, (frames, tokens) in enumerate(zip(LENS, Z_LENS)):
        for b in spoiled:
            b[n, frames:] = 1e3 * (n + 1)
        spoiled_teacher[n, tokens:] = -1e3
        assert not together.result.plan[n, frames:].any()
        assert not together.result.plan[n, :, tokens:].any()
    found, found_gradients = run(spoiled, LENS, spoiled_teacher, Z_LENS, *padded(LABELS))
    for field in ("alignment", "alignment_mean", "transport"):
        assert torch.equal(getattr(found, field), getattr(together, field))
    assert torch.equal(found.result.plan, together.result.plan)
    assert all(torch.equal(x, y) for x, y in zip(gradients, found_gradients))
    for n, (frames, tokens) in enumerate(zip(LENS, Z_LENS)):
        alone, own = run(
            [b[n : n + 1, :frames] for b in blocks],
            LENS[n : n + 1],
            teacher[n : n + 1, :tokens],
            Z_LENS[n : n + 1],
            *padded(LABELS[n : n + 1]),
        )
        for field in ("alignment", "alignment_mean", "transport"):
            expected = getattr(alone, field)[0]
            torch.testing.assert_close(getattr(together, field)[n], expected, atol=1e-5, rtol=1e-5)
        for together_h, alone_h in zip(gradients, own):
            torch.testing.assert_close(together_h[n, :frames], alone_h[0], atol=1e-5, rtol=1e-4)
            assert not together_h[n, frames:].any()


@pytest.mark.parametrize("part", ["alignment", "transport"])
def test_each_loss_trains_encoder_and_frames(part):
    """Of the layers, the transport does without what lies behind the last coupling."""
    module = transfer()
    blocks, teacher = inputs()
    blocks = [b.requires_grad_() for b in blocks]
    getattr(module(blocks, LENS, teacher, Z_LENS, *padded(LABELS)), part).sum().backward()
    for name, parameter in module.named_parameters():
        behind = part == "transport" and "layers.2" in name
        assert (parameter.grad is None or not parameter.grad.any()) == behind, name
    used = module.encoder.embedding.weight.grad.abs().sum(1) > 0
    expected = {2, 3, 4, VOCAB, VOCAB + 1}  # a blank, an unknown never came
    assert set(used.nonzero()[:, 0].tolist()) == expected
    for n, frames in enumerate(LENS):
        reached = part == "transport" or len(LABELS[n]) > 0
        assert all(bool(b.grad[n, :frames].any()) == reached for b in blocks)


def test_autocast_and_silent_frames():
    module = transfer(torch.float32)
    blocks, teacher = inputs(dtype=torch.float32)
    blocks[0][0] = 0
    blocks = [b.requires_grad_() for b in blocks]
    loss = module(blocks, LENS, teacher, Z_LENS, *padded(LABELS))
    combine(torch.zeros(3), loss, module.config).mean().backward()
    assert all(torch.isfinite(b.grad).all() for b in blocks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(blocks, LENS, teacher, Z_LENS, *padded(LABELS))
    assert torch.equal(found.alignment, loss.alignment)
    assert torch.equal(found.transport, loss.transport)


def test_low_temperature_gives_finite_gradients():
    module = transfer(torch.float32, beta=0.002)
    blocks, teacher = inputs(dtype=torch.float32)
    blocks = [b.requires_grad_() for b in blocks]
    loss = module(blocks, LENS, teacher, Z_LENS, *padded(LABELS))
    (loss.alignment + loss.transport).sum().backward()
    assert torch.isfinite(loss.transport).all()
    assert all(torch.isfinite(b.grad).all() for b in blocks)


def test_blocks_that_are_matched():
    every_third = make_objective(load_row("hcm"), VOCAB, WIDTH)
    assert every_third.layers(16) == (1, 4, 7, 10, 13, 16)
    assert every_third.layers(4) == (1, 4) and every_third.layers(2) == (2,)
    assert make_objective(load_row("hcm_last"), VOCAB, WIDTH).layers(16) == (16,)
    transport = make_objective(load_row("gm_ot"), VOCAB, WIDTH)
    assert transport.layers(16) == (16,) and not list(transport.parameters())


def test_parameters_are_those_of_the_papers_layers():
    """An embedding, and M_t times a linear layer and two norms, whatever the blocks."""
    module = make_objective(load_row("hcm"), 4282, 768)
    expected = 4284 * 768 + 5 * (768 * 768 + 768 + 4 * 768)
    assert sum(p.numel() for p in module.parameters()) == expected


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": padded(LABELS)[0][:2]}, r"labels: .*\(3, S\).* \(2, 3\)"),
        ({"labels": torch.zeros(3, 3)}, "labels: expected integers .* torch.float32"),
        ({"label_lengths": torch.tensor([3, 2, 0])}, "label_lengths: item 1 has not two less"),
        ({"label_lengths": torch.tensor([3, 2])}, "label_lengths: expected shape"),
        ({"h_lengths": [9, 6, 0]}, "h_lengths: item 2 is empty"),
        ({"z_lengths": [5, 3, 6]}, "z_lengths: item 2 is longer"),
        ({"z": torch.full((3, 5, WIDTH), float("nan"))}, "^z: item 0 has NaN"),
        ({"blocks": [torch.zeros(3, 9, 4)]}, "h and z: expected the same batch and width"),
    ],
)
def test_bad_input_is_refused(change, message):
    blocks, z = inputs(dtype=torch.float32)
    labels, label_lengths = padded(LABELS)
    arguments = {"blocks": blocks, "h_lengths": LENS, "z": z, "z_lengths": Z_LENS}
    arguments.update(labels=labels, label_lengths=label_lengths)
    with pytest.raises(ValueError, match=message):
        transfer(torch.float32)(**{**arguments, **change})


def test_bad_settings_are_refused():
    cost, tokens, frames = torch.rand(1, 2, 3), torch.ones(1, 2) > 0, torch.ones(1, 3) > 0
    with pytest.raises(ValueError, match="normalizations"):
        sinkhorn_attention(cost, tokens, frames, 1.0, 0)
    with pytest.raises(ValueError, match="epsilon"):
        sinkhorn_attention(cost, tokens, frames, 0.0, 1)
    with pytest.raises(ValueError, match="num_layers"):
        CrossModalEncoder(VOCAB, WIDTH, 0, 1.0, 3)
