"""Pictures of couplings: as many panels as plans, titled, and drawn from the plans' numbers."""

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")

from benchmarks.figure3 import draw_sweep  # noqa: E402
from gmot.analysis.plots import draw_couplings  # noqa: E402

PIECES = ["[CLS]", "a", "[SEP]"]


def test_a_sweep_has_a_row_a_parameter_and_a_panel_a_value(tmp_path):
    plans = [torch.rand(10, 3) for _ in range(5)]
    figure = draw_sweep(
        [plans[:2], plans[2:]],
        PIECES,
        ["rho varied", "beta varied"],
        [["rho = 0", "rho = 1"], ["beta = 1", "beta = 2", "beta = 3"]],
    )
    drawn = [axis for axis in figure.axes if axis.images]
    assert len(figure.axes) == 6 and len(drawn) == 5
    titles = [axis.get_title(loc="left").strip() for axis in drawn]
    assert titles == ["rho = 0", "rho = 1", "beta = 1", "beta = 2", "beta = 3"]
    headings = [text.get_text() for axis in drawn for text in axis.texts]
    assert headings == ["rho varied", "beta varied"]
    for axis, plan in zip(drawn, plans):
        expected = plan.numpy().T / plan.numpy().max(axis=0)[:, None]
        np.testing.assert_allclose(axis.images[0].get_array(), expected, rtol=1e-6)
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == PIECES
    figure.savefig(tmp_path / "x.png", dpi=30)


def test_couplings_of_several_lengths_are_drawn_without_their_padding():
    plan = torch.rand(2, 10, 4)
    figure = draw_couplings(plan, [10, 6], [[*PIECES, "x"], PIECES], ["one", "two"])
    assert [axis.images[0].get_array().shape for axis in figure.axes] == [(4, 10), (3, 6)]
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["one", "two"]
