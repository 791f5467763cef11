"""Event files read back: values, restarted runs, names."""

import experiment
import numpy as np
import pytest

from gmot.analysis.curves import COMPARED, condense, grouped_tags, make_panels
from gmot.analysis.history import Curve, read_histories, read_history
from gmot.common import GmotError
from gmot.training.metrics import open_board


def test_scalars_and_pictures_are_read_back(tmp_path):
    experiment.train(tmp_path / "a")
    history = read_history(tmp_path / "a")
    loss = history.scalars["train/loss"]
    assert loss.updates.tolist() == list(range(1, 61))
    np.testing.assert_allclose(loss.values, 100 / loss.updates, rtol=1e-6)
    assert history.last("dev/cer") == 30 and history.last("dev/none") is None
    couplings = history.pictures["couplings"]
    assert [picture.update for picture in couplings] == [20, 40, 60]
    assert all(picture.png.startswith(b"\x89PNG") for picture in couplings)
    assert [history.epoch_of(update) for update in (20, 60, 61)] == [1, 3, None]
    assert history.name == "a" and history.hours >= 0


def test_what_a_later_run_did_again_is_dropped(tmp_path):
    experiment.train(tmp_path)  # to update 60
    board = open_board(tmp_path / "tensorboard", 31)
    board.add_scalar("train/loss", -1.0, 31)
    board.close()
    history = read_history(tmp_path)
    loss = history.scalars["train/loss"]
    assert loss.updates.tolist() == list(range(1, 32)) and loss.values[-1] == -1
    assert history.scalars["dev/cer"].updates.tolist() == [20]
    assert [picture.update for picture in history.pictures["couplings"]] == [20]


def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path):
    experiment.train(tmp_path, teacher=False)
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-1000])
    updates = read_history(tmp_path).scalars["train/loss"].updates
    assert 0 < len(updates) < 60


def test_no_training(tmp_path):
    with pytest.raises(GmotError, match=r"tensorboard: no event files.*local/train\.py"):
        read_history(tmp_path)
    open_board(tmp_path / "tensorboard", 1).close()
    with pytest.raises(GmotError, match="no scalars yet"):
        read_history(tmp_path)


def test_names_tell_experiments_apart(tmp_path):
    for seed in ("seed1", "seed2"):
        experiment.train(tmp_path / seed / "ctc", last=1, teacher=False)
    folders = [tmp_path / seed / "ctc" for seed in ("seed1", "seed2")]
    assert [h.name for h in read_histories(folders)] == ["seed1/ctc", "seed2/ctc"]
    assert [h.name for h in read_histories(folders[:1])] == ["ctc"]
    with pytest.raises(GmotError, match=r"seed1/ctc is given twice"):
        read_histories([*folders, folders[0]])


def test_panels_of_what_was_measured(tmp_path):
    experiment.train(tmp_path / "gm_ot")
    experiment.train(tmp_path / "ctc", teacher=False)
    histories = read_histories([tmp_path / "gm_ot", tmp_path / "ctc"])
    panels = {p.tag: p for p in make_panels(histories, [*COMPARED, "dev/none"])}
    assert list(panels["train/ctc"].lines) == ["gm_ot", "ctc"]
    assert list(panels["train/edge"].lines) == ["gm_ot"]
    assert "dev/none" not in panels
    assert panels["train/loss"].logarithmic  # 100 to 1.7
    assert not panels["dev/cer"].logarithmic and not panels["train/learning_rate"].logarithmic
    groups = grouped_tags(histories[0])
    assert groups["Dev"] == ["dev/cer", "dev/loss"] and "Others" not in groups


def test_long_curves_are_means_of_intervals():
    updates = np.arange(1, 1001)
    values = np.where(updates % 2, 1.0, 3.0)
    values[10] = np.nan
    line = condense(Curve(updates, values), most=10)
    assert len(line.values) == 10
    np.testing.assert_allclose(line.values, 2.0, atol=0.02)
    assert (line.low == 1).all() and (line.high == 3).all()
    assert updates[0] < line.updates[0] < line.updates[-1] < updates[-1]
    short = condense(Curve(updates[:5], np.array([1, np.inf, 2, np.nan, 3.0])))
    assert short.values.tolist() == [1, 2, 3] and short.updates.tolist() == [1, 3, 5]
