"""Resume: random generators and the same configuration."""

import random
from dataclasses import asdict, replace

import pytest
import torch

from benchmarks.rows import load_row
from gmot.common import GmotError
from gmot.data.config import DataConfig
from gmot.model.checkpoint import read_checkpoint, save_checkpoint
from gmot.model.config import ModelConfig
from gmot.training.config import TrainingConfig
from gmot.training.state import check_resumable, random_state, restore_random_state


def config(transfer="gm_ot", model=None, training=None, data=None, **others):
    return {
        "transfer": asdict(load_row(transfer)),
        "model": asdict(replace(ModelConfig(), **(model or {}))),
        "training": asdict(replace(TrainingConfig(), **(training or {}))),
        "data": asdict(replace(DataConfig(), **(data or {}))),
        **{"tokens": "abc", **others},
    }


def test_random_state_round_trip(tmp_path):
    save_checkpoint(tmp_path / "r.pt", {"model": {}, "config": {}, "random": random_state()})
    drawn = (torch.rand(3).tolist(), random.random())
    restore_random_state(read_checkpoint(tmp_path / "r.pt")["random"])
    assert (torch.rand(3).tolist(), random.random()) == drawn


def test_length_and_speed_may_change():
    check_resumable(
        "x.pt",
        config(),
        config(training={"num_epochs": 9, "keep_last": 3}, data={"num_workers": 4}),
    )


def test_the_end_of_a_cosine_schedule_may_not():
    old, new = (config(training={"schedule": "cosine", "num_epochs": n}) for n in (5, 6))
    with pytest.raises(GmotError, match="x.pt.*training.num_epochs.*5.*6"):
        check_resumable("x.pt", old, new)


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"transfer": "gm_ot_setting6"}, ["transfer.alpha: 0.02 there, 0.05 here", "transfer.rho"]),
        ({"model": {"d_model": 128}}, ["model.d_model: 256 there, 128 here"]),
        ({"training": {"seed": 1, "num_epochs": 3}}, ["training.seed: 42 there, 1 here"]),
        ({"tokens": "xyz"}, ["tokens: 'abc' there, 'xyz' here"]),
        ({"started_from": "w"}, ["started_from: None there, 'w' here"]),
    ],
)
def test_each_other_difference_is_named(change, facts):
    with pytest.raises(GmotError, match="x.pt") as error:
        check_resumable("x.pt", config(), config(**change))
    message = str(error.value)
    assert all(fact in message for fact in facts) and "--exp-dir" in message
    assert "num_epochs" not in message and message.count(" there, ") == len(facts)
