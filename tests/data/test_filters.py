"""What CTC cannot align is left out, and nothing else."""

import numpy as np
import pytest
import torch

from gmot.common import GmotError
from gmot.data.cuts import read_cuts
from gmot.data.dataset import LabelTable, required_frames
from gmot.data.filters import select_cuts


def test_feasible_is_where_torchs_ctc_loss_is_finite():
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(300):
        frames = int(rng.integers(1, 9))
        ids = rng.integers(1, 3, size=rng.integers(1, 7)).tolist()
        loss = torch.nn.functional.ctc_loss(
            torch.zeros(frames, 1, 3).log_softmax(-1),
            torch.tensor([ids]),
            torch.tensor([frames]),
            torch.tensor([len(ids)]),
        )
        verdicts.append(frames >= required_frames(ids))
        assert verdicts[-1] == bool(torch.isfinite(loss))
    assert 50 < sum(verdicts) < 250
    assert required_frames([5, 5, 5, 2]) == 6
    assert required_frames([]) == 1


def output_length(frames):
    return ((frames - 1) // 2 - 1) // 2


def test_the_report_names_each_with_its_reason(fbank, tmp_path, caplog):
    cuts = read_cuts(fbank, "toy", "dev")  # 0.7, 1.0 and 0.5 s: 16, 24 and 11 output frames
    report = tmp_path / "exp" / "left_out.txt"

    def tokenize(text):  # 12 tokens of 6 characters (19 frames with repetitions), 8 of 4 (12)
        return [ord(c) for c in text if c != " " for _ in range(2)]

    kept = select_cuts(cuts, output_length, LabelTable(cuts.texts, tokenize), report)
    assert [cuts[row].id for row in kept] == ["d001"]
    header, *lines = report.read_text().splitlines()
    assert header.startswith("# id\tseconds\tframes")
    assert lines == [
        "d000\t0.700\t70\t12\t16 output frames, CTC needs 19",
        "d002\t0.500\t50\t8\t11 output frames, CTC needs 12",
    ]
    assert "2 of 3" in caplog.text and str(report) in caplog.text


def test_durations_and_nothing_left(fbank, tmp_path):
    cuts = read_cuts(fbank, "toy", "dev")
    report = tmp_path / "report.txt"
    labels = LabelTable(cuts.texts, lambda text: [*map(ord, text)])
    options = {"output_length": output_length, "labels": labels, "report": report}
    assert len(select_cuts(cuts, **options)) == 3
    assert len(report.read_text().splitlines()) == 1  # an earlier report does not stay
    kept = select_cuts(cuts, min_duration=0.6, max_duration=0.9, **options)
    assert [cuts[row].id for row in kept] == ["d000"]
    assert "shorter than 0.6 s" in report.read_text() and "longer than 0.9" in report.read_text()
    with pytest.raises(GmotError, match="all 3.*d000"):
        select_cuts(cuts, min_duration=5, **options)
    with pytest.raises(GmotError, match="no tokens"):
        select_cuts(cuts, output_length, LabelTable(cuts.texts, lambda text: []))
