"""Pitch features tell the pitch, frame by frame of the filter bank."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from gmot.cli import ArgumentParser
from gmot.common import GmotError
from gmot.data.augment import SpecAugment, generator_for
from gmot.data.datamodule import AsrDataModule
from gmot.data.features import compute_fbank, load_cmvn, load_cuts
from gmot.data.manifests import prepare_manifests
from gmot.data.options import add_data_options
from gmot.data.pitch import NUM_PITCH, fbank_with_pitch, pitch_features
from gmot.data.validate import validate_cuts

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000


def test_without_librosa_the_error_names_the_requirement(monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(GmotError, match="librosa.*requirements/pitch.txt"):
        pitch_features(np.zeros(8000, np.float32), RATE, 50)


def test_a_librosa_that_is_broken_is_told_before_any_audio_is_read(tmp_path):
    """librosa loads its parts late: importing it works without numba, calling it does not."""
    pytest.importorskip("librosa")
    (tmp_path / "numba.py").write_text("raise ImportError('numba is broken')\n")
    code = "from gmot.data.pitch import fbank_with_pitch as f; from lhotse import FbankConfig; "
    code += "f(FbankConfig())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "GmotError: --pitch needs librosa" in result.stderr
    assert "numba is broken" in result.stderr.splitlines()[-1]


def glide(low=100.0, high=200.0, seconds=2.0):
    """A voice-like tone whose pitch rises evenly in its logarithm: samples, pitch of each."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = low * (high / low) ** (time / seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = sum(np.sin(n * phase) / n for n in range(1, 8))
    return (0.2 * wave).astype(np.float32), pitch


def test_a_glide_is_followed():
    pytest.importorskip("librosa")
    samples, pitch = glide()
    found = pitch_features(samples, RATE, 200)
    assert found.shape == (200, NUM_PITCH) and found.dtype == np.float32
    middle = slice(80, 120)  # where the window of the mean is whole
    assert (found[middle, 0] > 0.5).all()
    true = np.log(pitch[80 + 160 * np.arange(200)])  # in the middle of each frame
    # The glide is even, so its mean over a window is the value in its middle.
    assert np.abs(found[middle, 1]).max() < 0.03
    assert found[middle, 2].mean() == pytest.approx(true[1] - true[0], rel=0.1)


@pytest.mark.parametrize("pitch", [90, 160, 300])
def test_the_track_is_in_step_with_the_frames(pitch):
    """A pitch that swings tells its time: an even glide less its mean would not."""
    pytest.importorskip("librosa")
    time = np.arange(3 * RATE) / RATE
    swing = 0.15 * np.sin(2 * np.pi * 1.5 * time)
    phase = 2 * np.pi * np.cumsum(pitch * np.exp(swing)) / RATE
    wave = 0.2 * sum(np.sin(n * phase) / n for n in range(1, 8))
    found = pitch_features(wave.astype(np.float32), RATE, 300)[20:-20, 2]

    def agreement(lag):  # lag in samples, a frame is 160
        return np.corrcoef(found, np.gradient(swing[80 + lag :: 160])[20 : 20 + len(found)])[0, 1]

    assert max(range(-80, 81, 16), key=agreement) in (-16, 0, 16)
    assert agreement(0) > 0.99


def test_copies_of_another_speed_have_its_pitch(tmp_path):
    pytest.importorskip("librosa")
    part = tmp_path / "corpus" / "train"
    part.mkdir(parents=True)
    soundfile.write(part / "glide.wav", glide()[0], RATE)
    (part / "wav.scp").write_text("glide glide.wav\n")
    (part / "text").write_text("glide 今天\n", encoding="utf-8")
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "manifests")
    compute_fbank(
        "toy", "train", tmp_path / "manifests", tmp_path / "fbank", speeds=(0.8,), pitch=True
    )
    plain, slow = (
        cut.load_features()[30:-30, 82] for cut in load_cuts(tmp_path / "fbank", "toy", "train")
    )
    assert len(slow) + 60 == 250 and len(plain) + 60 == 200
    assert slow.mean() / plain.mean() == pytest.approx(0.8, rel=0.02)


def test_levels_are_told_apart():
    """An octave is log 2, less what the mean that is subtracted moves."""
    pytest.importorskip("librosa")
    low, high = glide(120, 120, 0.7)[0], glide(240, 240, 0.7)[0]
    found = pitch_features(np.concatenate([low, high]), RATE, 140)
    step = found[90:110, 1].mean() - found[30:50, 1].mean()
    assert 0.45 < step < np.log(2) + 0.05


def test_silence_is_not_voiced():
    pytest.importorskip("librosa")
    found = pitch_features(np.zeros(RATE, np.float32), RATE, 100)
    assert np.isfinite(found).all() and (found[:, 0] < 0.1).all()
    noise = np.random.default_rng(0).normal(scale=0.1, size=RATE).astype(np.float32)
    voiced = pitch_features(glide()[0], RATE, 200)[20:-20, 0].mean()
    assert pitch_features(noise, RATE, 100)[:, 0].mean() < 0.3 < voiced


@pytest.mark.parametrize("samples", [1600, 1679, 1680, 1681, 5000, 15999, 16001])
def test_frames_are_those_of_the_filter_bank(samples):
    pytest.importorskip("librosa")
    from lhotse import Fbank, FbankConfig

    wave = glide(seconds=1.5)[0][None, :samples]
    config = FbankConfig(sampling_rate=RATE, num_filters=80)
    bank = Fbank(config).extract(wave, RATE)
    both = fbank_with_pitch(config).extract(wave, RATE)
    assert both.shape == (len(bank), 83)
    assert np.array_equal(both[:, :80], bank)


def test_the_whole_way(corpus, tmp_path):
    """Stored, validated, normalised and augmented, with copies of other speeds."""
    pytest.importorskip("librosa")
    prepare_manifests(corpus, "toy", ["train", "dev"], tmp_path / "manifests")
    script = [sys.executable, ROOT / "local" / "compute_fbank.py", "--pitch", "true"]
    options = ["--prefix", "toy", "--manifest-dir", tmp_path / "manifests"]
    options += ["--fbank-dir", tmp_path / "fbank", "--speed-perturb", "0.9", "--num-jobs", "1"]
    command = [*script, *options, "--parts", "train", "dev"]
    subprocess.run(list(map(str, command)), check=True, timeout=120)
    check = [sys.executable, ROOT / "local" / "validate_manifests.py", "--prefix", "toy"]
    check += ["--fbank-dir", tmp_path / "fbank", "--parts", "train", "dev", "--pitch"]
    subprocess.run([*map(str, check), "true"], check=True, timeout=60)
    with pytest.raises(GmotError, match="83 bins, expected 80"):
        validate_cuts(tmp_path / "fbank", "toy", "train")
    mean, std = load_cmvn(tmp_path / "fbank", "toy")
    assert len(mean) == len(std) == 83
    cuts = load_cuts(tmp_path / "fbank", "toy", "dev")
    assert cuts[0].load_features().shape[1] == 83
    parser = ArgumentParser()
    add_data_options(parser)
    args = ["--prefix", "toy", "--fbank-dir", str(tmp_path / "fbank"), "--spec-aug-p", "1"]
    data = AsrDataModule.from_args(parser.parse_args(args, argparse.Namespace(seed=1)))
    batch = next(iter(data.train_dataloader("train")))
    assert batch.features.shape[2] == 83
    # Nothing of the mean of the filter bank (about -10) gets into the pitch.
    assert batch.features[0, : batch.feature_lens[0], 80].min() > -0.1
    # Other features than without: made again, not taken for these.
    assert compute_fbank("toy", "dev", tmp_path / "manifests", tmp_path / "fbank") == 3
    assert load_cuts(tmp_path / "fbank", "toy", "dev")[0].load_features().shape[1] == 80


def test_masks_know_the_pitch():
    augment = SpecAugment(
        time_warp_factor=0, num_feature_masks=1, features_mask_size=5, p=1.0, num_others=3
    )
    features = torch.cat(
        [torch.full((400, 10), -8.0) + torch.randn(400, 10), torch.rand(400, 3)], 1
    )
    changed = augment(features, generator_for(0))
    masked = (changed[:, :10] != features[:, :10]).all(dim=1)
    assert masked.any() and not masked.all()
    # No frequency mask reaches the pitch; time masks put its own mean there.
    assert torch.equal(changed[~masked, 10:], features[~masked, 10:])
    others = changed[masked, 10:]
    torch.testing.assert_close(others, features[:, 10:].mean(dim=0).expand_as(others))
