"""Roles of configuration fields on resume."""

from dataclasses import asdict, replace

import pytest

from benchmarks.rows import load_row
from gmot.common import GmotError
from gmot.config import changeable
from gmot.data.config import DataConfig
from gmot.model.config import ModelConfig
from gmot.training.config import TrainingConfig
from gmot.training.state import noted_changes


def config(transfer="gm_ot", model=None, training=None, data=None, **others):
    return {
        "transfer": asdict(load_row(transfer)),
        "model": asdict(replace(ModelConfig(), **(model or {}))),
        "training": asdict(replace(TrainingConfig(), **(training or {}))),
        "data": asdict(replace(DataConfig(), **(data or {}))),
        **{"tokens": "abc", **others},
    }


def test_length_and_speed_may_change():
    others = config(training={"num_epochs": 9, "keep_last": 3}, data={"num_workers": 4})
    assert noted_changes("x.pt", config(), others) == []


def test_rates_and_batches_may_change_and_are_noted():
    """Cases B24 and B25."""
    others = config(
        training={"base_lr": 0.0005, "clip_norm": 1.0, "num_epochs": 9},
        data={"max_duration": 50.0, "update_duration": 100.0},
        corpus="b",
    )
    assert noted_changes("x.pt", config(corpus="a"), others) == [
        "corpus: 'a' there, 'b' here",
        "data.max_duration: 100.0 there, 50.0 here",
        "data.update_duration: None there, 100.0 here",
        "training.base_lr: 0.001 there, 0.0005 here",
        "training.clip_norm: 5.0 there, 1.0 here",
    ]


def test_every_field_of_training_and_data_has_a_role():
    must_match = {"schedule", "seed"}
    for kind in (TrainingConfig, DataConfig):
        names = {key.partition(".")[0] for r in ("free", "noted") for key in changeable(kind, r)}
        assert set(kind.__dataclass_fields__) - names == (
            must_match if kind is TrainingConfig else set()
        )


def test_the_end_of_a_cosine_schedule_may_not():
    old, new = (config(training={"schedule": "cosine", "num_epochs": n}) for n in (5, 6))
    with pytest.raises(GmotError, match="x.pt.*training.num_epochs.*5.*6"):
        noted_changes("x.pt", old, new)


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
        noted_changes("x.pt", config(), config(**change))
    message = str(error.value)
    assert all(fact in message for fact in facts) and "--exp-dir" in message
    assert "num_epochs" not in message and message.count(" there, ") == len(facts)
