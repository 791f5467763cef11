"""Features that are not finite, with the checks of values off: the losses of their utterance."""

import importlib.util

import pytest
import torch

from benchmarks.rows import ROWS, load_row
from gmot.transfer.objective import make_objective

LENS, Z_LENS, WIDTH, BAD = [30, 22, 14], [7, 5, 4], 8, 1
BACKENDS = ["torch"] + ["cpu"] * bool(importlib.util.find_spec("numba"))


def losses(objective, h, z):
    labels = torch.arange(15).view(3, 5) % 4 + 1
    blocks = [h] * len(objective.layers(4))
    lengths = torch.tensor(LENS), z, torch.tensor(Z_LENS)
    label_lengths = torch.tensor(Z_LENS) - 2
    return objective(blocks, *lengths, labels, label_lengths, validate=False)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("system", sorted(s for s, c in ROWS.items() if c.learns_from_teacher))
def test_the_losses_of_one_utterance_alone(system, value, backend):
    """One entry of one frame: neither an error nor an endless loop, on any backend."""
    torch.manual_seed(0)
    objective = make_objective(load_row(system, backend=backend), 6, WIDTH)
    z, frames = torch.randn(3, 7, WIDTH), torch.randn(3, 30, WIDTH)
    spoiled = frames.clone()
    spoiled[BAD, 3, 2] = value
    gradients, found = [], []
    for h in (frames, spoiled):
        h = h.requires_grad_()
        loss = losses(objective, h, z)
        (loss.alignment + loss.transport).sum().backward()
        found.append((loss.alignment + loss.transport).detach())
        gradients.append(h.grad)
    finite = torch.isfinite(found[1])
    assert finite.tolist() == [n != BAD for n in range(3)]
    assert torch.equal(found[1][finite], found[0][finite])
    assert torch.equal(gradients[1][finite], gradients[0][finite])
    assert torch.isfinite(gradients[0]).all()
