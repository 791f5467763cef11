"""Provenance of results: environment, and the runs of a training."""

import argparse
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from gmot import provenance
from gmot.common import GmotError, write_json
from gmot.evaluation.files import update_results
from gmot.evaluation.report import describe, teacher_of
from gmot.provenance import add_run, choose_device, describe_run, environment, runs_behind
from gmot.training.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.integration
def test_versions_and_commit():
    found = json.loads(json.dumps(environment()))
    assert found["torch"] == metadata.version("torch")
    assert found["python"] == sys.version.split()[0]
    assert found["cpus"] >= 1
    if (ROOT / ".git").exists():
        head = subprocess.check_output(["git", "-C", str(ROOT), "rev-parse", "HEAD"], text=True)
        assert head.startswith(found["commit"])
        assert isinstance(found["dirty"], bool)


@pytest.mark.integration
def test_what_is_not_there_is_none(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "")
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    monkeypatch.setenv("PATH", "")
    found = environment()
    assert (found["host"], found["no-such-package"], found["commit"]) == (None, None, None)


@pytest.mark.integration
def test_nothing_heavy_is_imported():
    code = (
        "import sys, gmot.provenance as e; e.environment()\n"
        "sys.exit(bool({'torch', 'k2', 'lhotse', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_device():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(GmotError, match="--device nonsense"):
        choose_device("nonsense")


def run(first_epoch, command):
    return {"date": f"day {first_epoch}", "first_epoch": first_epoch, "command": command}


@pytest.mark.integration
def test_every_run_is_kept(tmp_path):
    for first_epoch in (1, 4):
        args = argparse.Namespace(training=TrainingConfig(num_epochs=first_epoch + 2), prefix="toy")
        add_run(tmp_path, describe_run(args), first_epoch, {"tokens": "abc"})
    kept = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert kept["config"] == {"tokens": "abc"}
    first, second = kept["runs"]
    assert (first["first_epoch"], second["first_epoch"]) == (1, 4)
    assert first["arguments"]["prefix"] == "toy"
    assert first["arguments"]["training"]["num_epochs"] == 3
    for one in (first, second):
        assert one["command"].startswith("python ") and one["date"][:2] == "20"
        assert "commit" in one["environment"] and one["environment"]["torch"]


def test_results_know_the_runs_that_made_their_epochs(tmp_path):
    assert runs_behind(tmp_path, 3) == []

    def behind(epoch):
        return [one["command"] for one in runs_behind(tmp_path, epoch)]

    def add(first_epoch, command):
        made_by = {"date": "today", "command": command, "arguments": {"seed": 1}}
        add_run(tmp_path, made_by, first_epoch, {})

    add(1, "a")  # stopped before an epoch was finished
    add(1, "b")
    add(4, "c")
    assert (behind(3), behind(4), behind(9)) == (["b"], ["b", "c"], ["b", "c"])
    assert all("arguments" not in one for one in runs_behind(tmp_path, 9))
    add(1, "d")  # the checkpoints were removed
    assert behind(9) == ["d"]


def test_what_is_no_record_is_refused(tmp_path):
    for content in ([], {"runs": 3}, {"runs": [{"command": "x"}]}):
        write_json(tmp_path / "config.json", content)
        with pytest.raises(GmotError, match="config.json"):
            runs_behind(tmp_path, 1)


def record(epoch, training):
    return {"split": "dev", "method": "m", "epoch": epoch, "avg": 1, "cer": 1, "training": training}


def test_results_of_a_training_that_went_on_stay(tmp_path):
    """But not those of another training in the same folder."""
    path = tmp_path / "results.json"

    def epochs():
        return [r["epoch"] for r in json.loads(path.read_text(encoding="utf-8"))]

    update_results(path, [record(3, {"runs": [run(1, "a")]})])
    update_results(path, [record(6, {"runs": [run(1, "a"), run(4, "b")]})])
    assert epochs() == [3, 6]
    update_results(path, [record(2, {"runs": [run(1, "c")]})])
    assert epochs() == [2]


def test_the_report_names_runs_and_the_teachers_layer():
    counts = ("ins", "del", "sub", "ref_len", "num_utterances", "num_empty")
    measured = {
        **{"scores": {"CER": dict.fromkeys(counts, 0)}},
        **dict.fromkeys(("rtf_encoder", "rtf_decoding", "peak_memory_mb"), 0.0),
        **{"device": "cpu", "seed": 1, "teacher_layer": {"number": 6, "of": 12}},
        **{"transfer": {"name": "gm_ot", "final_sinkhorn": True}},
    }
    runs = [run(1, "train.py --num-epochs 3"), run(4, "train.py --num-epochs 6")]
    text = describe("gm_ot", [{**record(6, {"runs": runs}), **measured}])
    assert "`train.py --num-epochs 3`" in text and "`train.py --num-epochs 6`" in text
    assert "from epoch 4" in text and "day 4" in text
    assert "layer 6 of 12" in text and "final_sinkhorn" in text
    assert teacher_of([{"transfer": {"objective": "none"}}]) == "none"
    assert teacher_of([{"transfer": {"objective": "transport", "ctc_weight": 1.0}}]) == "none"
