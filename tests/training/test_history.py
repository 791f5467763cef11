import argparse
import json

import pytest

from gmot.common import GmotError, write_json
from gmot.result_files import training_runs, update_results
from gmot.results import describe, teacher_of
from gmot.training.history import add_run, describe_run, runs_behind


def run(first_epoch, command):
    return {"date": f"day {first_epoch}", "first_epoch": first_epoch, "command": command}


def test_every_run_is_kept(tmp_path):
    for first_epoch in (1, 4):
        args = argparse.Namespace(num_epochs=first_epoch + 2, seed=1)
        add_run(tmp_path, describe_run(args), first_epoch, {"tokens": "abc"})
    kept = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert kept["config"] == {"tokens": "abc"}
    first, second = kept["runs"]
    assert (first["first_epoch"], second["first_epoch"]) == (1, 4)
    assert first["arguments"] == {"num_epochs": 3, "seed": 1}
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


def test_the_record_of_an_earlier_version_is_the_first_run(tmp_path):
    old = {"command": "old", "arguments": {"seed": 1}, "environment": {"commit": "abc"}}
    write_json(tmp_path / "config.json", {**old, "config": {}})
    assert runs_behind(tmp_path, 2) == [{"command": "old", "environment": {"commit": "abc"}}]
    add_run(tmp_path, {"command": "new"}, 3, {})
    assert [one["command"] for one in runs_behind(tmp_path, 5)] == ["old", "new"]
    kept = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert kept["runs"][0] == old


def test_what_is_no_record_is_refused(tmp_path):
    write_json(tmp_path / "config.json", [])
    with pytest.raises(GmotError, match="config.json"):
        runs_behind(tmp_path, 1)


def record(epoch, training):
    return {"part": "dev", "method": "m", "epoch": epoch, "avg": 1, "cer": 1, "training": training}


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
    old = {"command": "old", "environment": {}}
    update_results(path, [record(1, old)])
    update_results(path, [record(2, {"runs": training_runs(old)})])
    assert epochs() == [1, 2]


def test_the_report_names_runs_and_the_teachers_layer():
    measured = {
        **dict.fromkeys(("ins", "del", "sub", "ref_len", "num_utterances", "num_empty"), 0),
        **dict.fromkeys(("rtf_encoder", "rtf_decoding", "peak_memory_mb"), 0.0),
        **{"device": "cpu", "seed": 1, "teacher_layer": {"number": 6, "of": 12}},
        **{"system": {"name": "gm_ot", "final_sinkhorn": True}},
    }
    runs = [run(1, "train.py --num-epochs 3"), run(4, "train.py --num-epochs 6")]
    text = describe("gm_ot", [{**record(6, {"runs": runs}), **measured}])
    assert "`train.py --num-epochs 3`" in text and "`train.py --num-epochs 6`" in text
    assert "from epoch 4" in text and "day 4" in text
    assert "layer 6 of 12" in text and "final_sinkhorn" in text
    assert teacher_of([{"system": {"transfer": False}}]) == "none"
    assert teacher_of([{"system": {"transfer": True, "ctc_weight": 1.0}}]) == "none"
    assert teacher_of([{"system": {"transfer": True, "ctc_weight": 0.3}}]) == "not recorded"
