"""Nothing that a training step computes waits for the device."""

import pytest
import torch
from oracles.host_waits import count_host_waits, on_no_device
from torch.nn.functional import ctc_loss

from benchmarks.rows import ROWS, load_row
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.ot import CosineEdges, fused_gromov_wasserstein
from gmot.transfer.losses import combine
from gmot.transfer.objective import make_objective

WIDTH, VOCAB = 8, 6
SHAPE = {"vocab_size": VOCAB, "num_features": 8, "d_model": 16, "num_heads": 2, "ffn_dim": 32}
SHAPE.update(num_layers=4, kernel_size=3, subsampling_channels=4)


def batch():
    """Features, lengths, labels, label lengths, teacher rows and their lengths."""
    torch.manual_seed(0)
    labels = torch.tensor([[2, 3, 2], [4, 0, 0], [3, 4, 0]])
    label_lengths = torch.tensor([3, 1, 2])
    features, lengths = torch.randn(3, 64, 8), torch.tensor([64, 40, 52])
    return features, lengths, labels, label_lengths, torch.randn(3, 5, WIDTH), label_lengths + 2


def modules(system, **changes):
    settings = load_row(system, **changes)
    torch.manual_seed(0)
    shape = ModelConfig(**SHAPE, teacher_dim=WIDTH if settings.has_adapter else None)
    model, objective = CtcModel(shape), None
    if settings.has_adapter:
        objective = make_objective(settings, VOCAB, WIDTH)
    return settings, model, objective


def losses(settings, model, objective, features, lengths, labels, label_lengths, z, z_lengths):
    """CTC losses (N,), and those of the transfer."""
    layers = () if objective is None else objective.layers(4)
    output = model(features, lengths, layers)
    if features.device.type == "meta":  # without a CTC loss
        ctc = output.log_probs.mean((1, 2))
    else:
        x = output.log_probs.transpose(0, 1)
        ctc = ctc_loss(x, labels, output.lengths, label_lengths, reduction="none")
    if objective is None:
        return ctc.mean()
    found = objective(
        output.intermediate, output.lengths, z, z_lengths, labels, label_lengths, validate=False
    )
    return combine(ctc, found, settings).mean()


@pytest.mark.parametrize("system", sorted(ROWS))
def test_a_step_without_a_wait(system):
    parts, inputs = modules(system), batch()
    with count_host_waits() as waits:
        loss = losses(*parts, *inputs)
        loss.backward()
    assert not waits
    assert torch.isfinite(loss)


TORCH = int(torch.__version__.split(".")[0])
OPTIONS = [{}, {"plan_gradient": "implicit", "method": "projected_gradient"}]


@pytest.mark.skipif(TORCH < 2, reason="torch 1.13 has no convolutions without data")
@pytest.mark.parametrize("changes", OPTIONS, ids=str)
@pytest.mark.parametrize("system", ["ctc", "gm_ot", "tot", "uot", "hcm", "gm_ot_temporal"])
def test_no_value_leaves_the_device(system, changes):
    """On tensors without data: torch raises for values, and for tensors of the host among them."""
    settings = load_row(system)
    if changes and settings.objective != "transport":
        pytest.skip("a coupling without solver")
    if changes.get("plan_gradient") == "implicit" and settings.reach_a is not None:
        pytest.skip("balanced only")
    short = {"max_outer": min(2, settings.max_outer), "max_inner": 20, "newton_steps": 3}
    settings, model, objective = modules(system, backend="torch", **short, **changes)
    model.to("meta")
    if objective is not None:
        objective.to("meta")
    losses(settings, model, objective, *on_no_device(*batch())).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.device.type == "meta"


def test_what_is_counted():
    x, counts = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1, 2])
    calls = [
        lambda: x.sum().item(), lambda: bool(x.sum() > 0), lambda: float(x[0]), lambda: x.tolist(),
        lambda: x[x > 0], lambda: x.nonzero(), lambda: x.numpy(), lambda: torch.tensor([1, 2]),
        lambda: torch.masked_select(x, x > 0), lambda: torch.repeat_interleave(counts),
    ]  # fmt: skip
    for call in calls:
        with count_host_waits() as waits:
            call()
        assert len(waits) == 1 and "test_host_waits.py" in waits[0]
    with count_host_waits() as waits:
        torch.where(x > 0, x, 0 * x).masked_fill(x > 1, 0.0).sum().exp()
        torch.as_tensor(x)[:2] + torch.arange(2)
    assert not waits


def test_the_checks_of_values_are_what_waits():
    cost = torch.rand(2, 5, 3)
    edges = [
        CosineEdges(torch.nn.functional.normalize(torch.randn(2, n, 4), dim=2)) for n in (5, 3)
    ]
    lengths = torch.tensor([5, 4]), torch.tensor([3, 2])
    options = {"lengths_a": lengths[0], "lengths_b": lengths[1], "backend": "torch"}
    for validate in (False, True):
        with count_host_waits() as waits:
            fused_gromov_wasserstein(cost, *edges, **options, validate=validate)
        assert len(waits) == validate
