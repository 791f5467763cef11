import logging
from dataclasses import replace

import pytest
import torch

from benchmarks.rows import load_row
from gmot.training.transfer_metrics import (
    ABOVE_TOLERANCE,
    describe_progress,
    transfer_names,
    transfer_parts,
    warn_unconverged,
)
from gmot.transfer.losses import transport_loss


def transfer(settings):
    torch.manual_seed(0)
    h, z = torch.randn(4, 30, 8), torch.randn(4, 6, 8)
    return transport_loss(h, z, [30, 20, 10, 5], [6, 5, 4, 3], settings)


@pytest.mark.parametrize("name", ["gm_ot", "tot_setting1", "uot"])
def test_the_share_of_utterances_above_the_tolerance(name):
    settings = replace(load_row(name), backend="torch")
    loss = transfer(settings)
    errors = loss.result.marginal_error.sort().values
    assert errors[0] < errors[-1]
    for tolerance, share in ((errors[1].item(), 0.5), (errors[-1].item(), 0.0), (0.0, 1.0)):
        parts = transfer_parts(loss, replace(settings, tolerance=tolerance))
        assert parts[ABOVE_TOLERANCE].float().mean() == share
        assert list(parts) == transfer_names(settings)
    assert torch.equal(parts["marginal_error"], loss.result.marginal_error)
    assert torch.equal(parts["alignment"], loss.alignment)
    assert torch.equal(parts["node"], loss.result.node)


def test_hcms_iterations_are_part_of_its_method():
    loss = transfer(load_row("gm_ot"))
    assert ABOVE_TOLERANCE not in transfer_parts(loss, load_row("hcm"))


def test_a_warning_of_the_epoch(caplog):
    settings = load_row("tot")
    with caplog.at_level(logging.WARNING):
        for epoch, share in ((1, 0.01), (2, 0.042)):
            means = {ABOVE_TOLERANCE: share, "marginal_error": 2e-3, "loss": 1.0}
            assert warn_unconverged(epoch, means, settings) == (epoch == 2)
        assert not warn_unconverged(4, {"loss": 1.0}, settings)
    (record,) = caplog.records
    message = record.getMessage()
    assert record.levelname == "WARNING"
    for fact in ("epoch 2", "4.2 %", "0.0001", "0.002", "max_inner"):
        assert fact in message


def test_the_progress_bar_tells_it():
    assert describe_progress({"loss": 1.5, ABOVE_TOLERANCE: 0.0}) == "loss 1.5"
    assert describe_progress({"loss": 1.5}) == "loss 1.5"
    assert "2.5%" in describe_progress({"loss": 1.5, ABOVE_TOLERANCE: 0.025})
