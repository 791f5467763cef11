"""A training step on a GPU waits for the device where the metrics are read, and nowhere else."""

import pytest
import torch
from oracles.host_waits import count_host_waits
from training.test_trainer import joined, many, trainer

from gmot.training.distributed import Process
from gmot.training.metrics import Metrics
from gmot.training.optim import fuses

SYSTEMS = ("ctc", "gm_ot", "tot", "uot", "hcm")


def step(training, number):
    place = {"epoch": 1, "update": number, "step": number}
    training.updater([training.train_loader[0]], place, 0.01)
    training.ema.update(number)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_does_not_wait(tmp_path, system):
    """Three updates: batch, losses, gradient, guard, optimizer, running average, metrics."""
    training = trainer(tmp_path, train=[joined(*many(4))], system=system)
    step(training, 1)
    with count_host_waits() as waits:
        for number in (2, 3, 4):
            step(training, number)
    # Without a fused optimizer (torch 1.13), the guard asks whether the gradient is finite.
    allowed = 0 if fuses(torch.device("cpu")) else 3
    assert len(waits) == allowed, waits
    assert all("optim.py" in wait for wait in waits)


def test_a_reading_waits_once():
    metrics = Metrics(["loss", "ctc"], torch.device("cpu"))
    metrics.add({"loss": torch.ones(3), "ctc": torch.ones(3)})
    metrics.end_update(torch.tensor(True), torch.tensor(2.0))
    with count_host_waits() as waits:
        reading = metrics.read(Process(), [1.0])
    assert sum("tolist" in wait for wait in waits) == 1 and len(waits) <= 2, waits
    assert reading.means == {"loss": 1.0, "ctc": 1.0} and reading.gradient_norm == 2.0
