"""local/average_checkpoints.py writes what decoding would average."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from gmot.model.checkpoint import epoch_path, load_for_decoding, read_checkpoint, save_checkpoint
from gmot.model.ctc_model import CtcModel, ModelConfig

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "average_checkpoints.py"
CONFIG = ModelConfig(
    vocab_size=5, d_model=16, num_heads=2, ffn_dim=16, num_layers=1, kernel_size=3,
    subsampling_channels=2,
)  # fmt: skip


def average(*options):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_mean_of_the_last_epochs_is_a_checkpoint(tmp_path):
    models = []
    for epoch in (1, 2, 3):
        torch.manual_seed(epoch)
        models.append(CtcModel(CONFIG))
        state = {"model": models[-1].state_dict(), "config": {"model": asdict(CONFIG)}}
        save_checkpoint(epoch_path(tmp_path, epoch), state)
    done = average("--exp-dir", tmp_path, "--avg", 2, "--output", tmp_path / "average.pt")
    assert done.returncode == 0, done.stderr

    loaded = CtcModel(CONFIG)
    loaded.load_state_dict(read_checkpoint(tmp_path / "average.pt")["model"])
    expected = load_for_decoding(tmp_path, avg=2)[0].state_dict()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name])
        if value.is_floating_point():
            by_hand = (models[1].state_dict()[name] + models[2].state_dict()[name]) / 2
            assert torch.allclose(value, by_hand, atol=1e-6)


def test_too_few_epochs_are_an_error(tmp_path):
    done = average("--exp-dir", tmp_path, "--avg", 2, "--output", tmp_path / "average.pt")
    assert done.returncode == 1
    assert "no epoch-N.pt in it" in done.stderr
    assert not (tmp_path / "average.pt").exists()
