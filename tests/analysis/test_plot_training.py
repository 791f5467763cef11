"""Figure of training curves, and its command."""

import sys

import experiment
import pytest

from gmot.analysis.curves import make_panels
from gmot.analysis.history import read_histories
from gmot.analysis.plots import draw_curves
from gmot.bin import plot_training
from gmot.common import GmotError


@pytest.fixture
def folders(tmp_path):
    experiment.train(tmp_path / "gm_ot")
    experiment.train(tmp_path / "ctc", teacher=False)
    return [str(tmp_path / name) for name in ("gm_ot", "ctc")]


def plot(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["plot_training", *options])
    plot_training.main()


def test_one_line_per_experiment_in_its_colour(folders):
    panels = make_panels(read_histories(folders), ["train/loss", "train/edge", "dev/cer"])
    figure = draw_curves(panels, columns=2)
    axes = figure.axes
    assert [axis.get_title(loc="left") for axis in axes] == [panel.title for panel in panels]
    assert [len(axis.lines) for axis in axes] == [2, 1, 2]
    assert axes[0].lines[0].get_color() == axes[1].lines[0].get_color()
    assert axes[2].lines[0].get_ydata().tolist() == [90, 45, 30]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["gm_ot", "ctc"]
    assert not draw_curves(panels[1:2]).legends


def test_command(folders, tmp_path, monkeypatch):
    output = tmp_path / "curves.png"
    plot(monkeypatch, "--exp-dirs", *folders, "--output", str(output))
    assert output.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(GmotError, match=r"--tags dev/wer: .*found: dev/cer"):
        plot(monkeypatch, "--exp-dirs", *folders, "--output", str(output), "--tags", "dev/wer")
    with pytest.raises(GmotError, match=r"curves\.pdf: expected .*\.png"):
        plot(monkeypatch, "--exp-dirs", *folders, "--output", "curves.pdf")
