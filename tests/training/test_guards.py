"""Skipped updates and their evidence, memory, one training per folder."""

import json
import subprocess
import sys

import pytest
import torch
from training.test_trainer import Batches, joined, many, trainer, utterance

from gmot.common import GmotError
from gmot.training.guards import dry_run, exclusive, is_out_of_memory


def rotten(name="rotten", value=float("nan")):
    bad = utterance(name, "甲乙")
    bad.features[0, 3, 2] = value
    return bad


def lines(folder):
    text = (folder / "skipped.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("system", ["ctc", "gm_ot", "tot", "uot", "hcm"])
def test_an_update_with_nan_is_skipped_and_its_utterance_named(tmp_path, system, caplog):
    """It changes neither the weights nor Adam's moments, and training goes on."""
    good, bad = utterance("good", "乙丙甲"), rotten()
    for name, train in (("with", [good, joined(bad, utterance("x", "丙"))]), ("without", [good])):
        train = Batches(train)
        training = trainer(tmp_path / name, train=train, dev=Batches([good]), system=system)
        training.updater([training.train_loader[0]], {"epoch": 1, "update": 1, "step": 1}, 0.01)
        if name == "with":
            before = [p.detach().clone() for p in training.module.parameters()]
            training.updater([training.train_loader[1]], {"epoch": 1, "update": 2, "step": 2}, 0.01)
            after = list(training.module.parameters())
            assert all(torch.equal(old, new) for old, new in zip(before, after))
    training = trainer(
        tmp_path / "run", train=Batches([good, joined(bad, utterance("x", "丙"))]),
        dev=Batches([good]), system=system,
    )  # fmt: skip
    training.train()
    (first, second) = lines(tmp_path / "run")
    assert first["ids"] == ["rotten"] and "nan" in first["cause"]
    assert [first[k] for k in ("epoch", "update", "step")] == [1, 2, 2] and second["epoch"] == 2
    assert "rotten" in caplog.text and "skipped.jsonl" in caplog.text
    assert all(torch.isfinite(p).all() for p in training.module.parameters())


def test_too_many_in_a_row_stop_the_training_which_then_goes_on(tmp_path):
    train = [*many(3), *(rotten(f"bad{i}") for i in range(4))]
    with pytest.raises(GmotError, match="bad3.*base_lr"):
        trainer(tmp_path, train=Batches(train), dev=many(3), max_skipped=4).train()
    assert len(lines(tmp_path)) == 4
    again = trainer(tmp_path, train=many(3), dev=many(3), max_skipped=4, base_lr=0.001)
    again.resume()
    again.train()
    assert again.position.epoch == 2


def test_a_negative_ctc_loss_names_the_utterance(tmp_path, monkeypatch):
    original = torch.nn.functional.ctc_loss
    monkeypatch.setattr(torch.nn.functional, "ctc_loss", lambda *a, **k: original(*a, **k) - 1e4)
    with pytest.raises(GmotError, match="u2: negative CTC loss"):
        trainer(tmp_path, train=many(3), max_skipped=3).train()


def test_an_impossible_alignment_names_the_utterance(tmp_path):
    short = utterance("short", "甲甲甲乙乙乙", frames=16)
    trainer(tmp_path, train=Batches([*many(2), short]), num_epochs=1).train()
    (line,) = lines(tmp_path)
    assert line["ids"] == ["short"] and "inf" in line["cause"]


class Memory:
    """Forward passes fail with more than ``limit`` utterances, as torch's allocator does."""

    def __init__(self, training, limit):
        self.sizes = []
        model, original = training.module.model, training.module.model.forward

        def forward(features, *arguments, **options):
            self.sizes.append(len(features))
            if len(features) > limit:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return original(features, *arguments, **options)

        model.forward = forward


def test_a_batch_that_exceeds_the_memory_is_halved(tmp_path, caplog):
    parts = list(many(4))
    reference = trainer(tmp_path / "a", dropout=0.0)
    halved = trainer(tmp_path / "b", dropout=0.0)
    memory = Memory(halved, limit=2)
    for training in (reference, halved):
        training.updater([joined(*parts)], {"epoch": 1, "update": 1, "step": 1}, 0.01)
    assert memory.sizes == [4, 2, 2] and halved.updater.num_halved == 1
    assert "max_duration" in caplog.text
    for one, other in zip(reference.updater.parameters, halved.updater.parameters):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)
    Memory(halved, limit=0)
    halved.updater([joined(*parts)], {"epoch": 1, "update": 2, "step": 2}, 0.01)
    assert {line["ids"][0] for line in lines(tmp_path / "b")} == {p.ids[0] for p in parts}


def test_the_dry_run_proposes_a_duration(tmp_path):
    training = trainer(tmp_path, train=Batches([joined(*many(4))]))
    before = [p.detach().clone() for p in training.module.parameters()]
    dry_run(training.updater, training.train_loader, 9.0)
    Memory(training, limit=1)
    with pytest.raises(GmotError, match=r"max_duration 9\).*max_duration 2.25 fits"):
        dry_run(training.updater, training.train_loader, 9.0)
    Memory(training, limit=0)
    with pytest.raises(GmotError, match="max_utterance"):
        dry_run(training.updater, training.train_loader, 9.0)
    assert all(torch.equal(a, b) for a, b in zip(before, training.module.parameters()))


def test_memory_of_this_machine():
    """What torch raises where the operating system gives no memory."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value) and not is_out_of_memory(RuntimeError("shape"))


@pytest.mark.integration
def test_a_second_training_in_the_folder_is_refused(tmp_path):
    program = (
        "import sys, pathlib\nfrom gmot.training.guards import dry_run, exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1])):\n    print('locked', flush=True); input()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(GmotError, match=f"{tmp_path}.*process {other.pid}"),
            exclusive(tmp_path),
        ):
            pass
        other.kill()
    with exclusive(tmp_path):
        pass
