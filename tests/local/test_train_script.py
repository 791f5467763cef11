"""local/train.py on a small corpus of noise, as a user runs it."""

import json
from dataclasses import asdict

import pytest
import toy_training
from toy_training import script, train_options

from benchmarks.rows import load_row
from gmot.model.checkpoint import read_checkpoint

pytest.importorskip("transformers")

TEXTS = {"train": ["今天好", "天气好", "今天天气好"], "dev": ["今天", "好天气"]}
# What third parties print of matters that a user cannot change.
FOREIGN = ("huggingface/tokenizers", "Warning:", "TensorFlow", "site-packages")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    printed = toy_training.prepare(folder, TEXTS)
    assert "layer 2 of 2" in printed
    assert not [word for word in FOREIGN if word in printed], printed
    return folder


def train(data, row, *options, exp="exp"):
    return script("train", *train_options(row, *options, exp=f"{exp}/{row}"), cwd=data)


def test_runs_configuration_and_layer_are_recorded(data):
    """A training with options of its own, resumed, and decoded."""
    chosen = ("--model.positions", "absolute", "--transfer.final-sinkhorn", "true")
    chosen += ("--transfer.alpha", "0.03", "--teacher-layer", "last")
    for epochs in ("1", "2"):
        more = ("--training.num_epochs", epochs, "--data.num_workers", "1")
        done = train(data, "gm_ot", *chosen, *more)
        assert done.returncode == 0, done.stderr
        assert "dev loss" in done.stderr
        assert not [word for word in FOREIGN if word in done.stderr], done.stderr
    exp_dir = data / "exp" / "gm_ot"
    kept = json.loads((exp_dir / "config.json").read_text(encoding="utf-8"))
    assert [run["first_epoch"] for run in kept["runs"]] == [1, 2]
    assert [run["arguments"]["training"]["num_epochs"] for run in kept["runs"]] == [1, 2]
    config = read_checkpoint(exp_dir / "epoch-2.pt")["config"]
    assert config["model"]["positions"] == "absolute"
    expected = load_row("gm_ot", final_sinkhorn=True, alpha=0.03)
    assert config["transfer"] == asdict(expected)
    assert config["teacher_layer"] == {"number": 2, "of": 2}

    refused = train(data, "gm_ot", "--training.num-epochs", "3")
    message = refused.stderr.splitlines()[-1]
    assert refused.returncode == 1
    for fact in ("model.positions", "transfer.alpha: 0.03 there, 0.02 here", "final_sinkhorn"):
        assert fact in message
    assert "num_epochs" not in message and "num_workers" not in message

    decoded = script(
        *("decode", "--exp-dir", exp_dir, "--prefix", "toy", "--fbank-dir", "fbank"),
        *("--lang-dir", "lang", "--splits", "dev", "--avg", "2"),
        cwd=data,
    )
    assert decoded.returncode == 0, decoded.stderr
    (record,) = json.loads((exp_dir / "results.json").read_text(encoding="utf-8"))
    assert record["teacher_layer"] == {"number": 2, "of": 2}
    assert record["transfer"]["final_sinkhorn"] is True
    assert len(record["training"]["runs"]) == 2
    summary = script(
        *("summarize_results", "--exp-dir", "exp", "--experiments", "gm_ot", "--output", "R.md"),
        cwd=data,
    )
    assert summary.returncode == 0, summary.stderr
    assert "Teacher: gm_ot layer 2 of 2." in summary.stdout
    text = (data / "R.md").read_text(encoding="utf-8")
    assert "final_sinkhorn" in text and text.count("- trained by") == 2


def test_the_adapter_alone_needs_no_teachers_features(data):
    done = train(data, "ctc_adapter")
    assert done.returncode == 0, done.stderr
    config = read_checkpoint(data / "exp" / "ctc_adapter" / "epoch-1.pt")["config"]
    assert config["teacher"] is None and config["model"]["teacher_dim"] == 32


@pytest.mark.parametrize(
    ("row", "options", "status", "facts"),
    [
        ("gm_ot", ("--teacher-layer", "1"), 1, ("layer 2 of 2", "--teacher-layer")),
        ("gm_ot", ("--teacher-layer", "x"), 2, ("--teacher-layer", "x")),
        ("ctc", ("--transfer.final-sinkhorn", "true"), 2, ("--transfer.final_sinkhorn", "True")),
        ("gm_ot", ("--transfer.alhpa", "1"), 2, ("--transfer.alhpa", "--transfer.alpha")),
        ("gm_ot", ("--transfer.alpha", "much"), 2, ("--transfer.alpha", "number", "much")),
        ("gm_ot", ("--transfer.alpha", "3"), 2, ("--transfer.alpha", "0 to 1", "3")),
        ("gm_ot", ("--model.num-heads", "5"), 2, ("model.d_model", "5")),
    ],
)
def test_options_that_do_not_fit_are_refused(data, row, options, status, facts):
    refused = train(data, row, *options, exp="exp/none")
    assert refused.returncode == status and "Traceback" not in refused.stderr
    assert all(fact in refused.stderr.splitlines()[-1] for fact in facts), refused.stderr
