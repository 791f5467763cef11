"""Pitch features tell the pitch, frame by frame of the filter bank."""

import sys
import types

import numpy as np
import pytest
import soundfile
import torch
from lhotse import Fbank, FbankConfig

from gmot.common import GmotError
from gmot.data.augment import generator_for, spec_augment
from gmot.data.config import DataConfig, SpecAugmentConfig
from gmot.data.datamodule import AsrDataModule
from gmot.data.features import compute_fbank, load_cmvn, load_cuts
from gmot.data.manifests import prepare_manifests
from gmot.data.pitch import NUM_PITCH, fbank_with_pitch, pitch_features
from gmot.data.validate import validate_cuts

RATE = 16000


def test_without_the_library_the_error_names_the_requirement(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaldi_native_fbank", None)
    with pytest.raises(GmotError, match="kaldi_native_fbank.*pip install"):
        pitch_features(np.zeros(8000, np.float32), RATE, 50)


def test_a_version_without_pitch_is_told_before_any_audio_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaldi_native_fbank", types.ModuleType("kaldi_native_fbank"))
    with pytest.raises(GmotError, match="compute_and_process_kaldi_pitch.*pip install"):
        fbank_with_pitch(FbankConfig())


def glide(low=100.0, high=200.0, seconds=2.0):
    """A voice-like tone whose pitch rises evenly in its logarithm: samples, pitch of each."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = low * (high / low) ** (time / seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    wave = sum(np.sin(n * phase) / n for n in range(1, 8))
    return (0.2 * wave).astype(np.float32), pitch


def swinging(pitch):
    """Three seconds of a voice-like tone: samples, the logarithm of its pitch over ``pitch``."""
    swing = 0.15 * np.sin(2 * np.pi * 1.5 * np.arange(3 * RATE) / RATE)
    phase = 2 * np.pi * np.cumsum(pitch * np.exp(swing)) / RATE
    wave = 0.2 * sum(np.sin(n * phase) / n for n in range(1, 8))
    return wave.astype(np.float32), swing


def test_a_glide_is_followed():
    pytest.importorskip("kaldi_native_fbank")
    samples, pitch = glide()
    found = pitch_features(samples, RATE, 200)
    assert found.shape == (200, NUM_PITCH) and found.dtype == np.float32
    middle = slice(80, 120)  # where the window of the mean is whole
    assert (found[middle, 0] < -1).all()
    true = np.log(pitch[80 + 160 * np.arange(200)])  # in the middle of each frame
    # The glide is even, so its mean over a window is the value in its middle.
    assert np.abs(found[middle, 1]).max() < 2 * 0.03
    # Kaldi adds noise of 0.005 before it scales: three standard errors of the mean of 160 frames.
    error = 3 * 10 * 0.005 / 160**0.5
    assert found[20:-20, 2].mean() == pytest.approx(10 * (true[1] - true[0]), abs=error)


@pytest.mark.parametrize("pitch", [90, 160, 300])
def test_the_track_is_in_step_with_the_frames(pitch):
    """A pitch that swings tells its time: an even glide less its mean would not."""
    pytest.importorskip("kaldi_native_fbank")
    wave, swing = swinging(pitch)
    found = pitch_features(wave, RATE, 300)[90:210, 1] / 2

    def agreement(lag):  # lag in samples, a frame is 160
        return np.corrcoef(found, swing[80 + lag + 160 * np.arange(90, 210)])[0, 1]

    best = max(range(-320, 321, 16), key=agreement)
    assert -160 < best <= 0  # Kaldi's frames are early, by less than one
    assert agreement(best) > 0.99
    true = swing[80 + best + 160 * np.arange(90, 210)]
    # The mean over 1.5 s, two swings and a quarter, takes a little of the swing itself.
    assert np.polyfit(true, found, 1)[0] == pytest.approx(1, abs=0.15)


def test_copies_of_another_speed_have_its_pitch(tmp_path):
    pytest.importorskip("kaldi_native_fbank")
    part = tmp_path / "corpus" / "train"
    part.mkdir(parents=True)
    wave, swing = swinging(160)
    soundfile.write(part / "swing.wav", wave, RATE)
    (part / "wav.scp").write_text("swing swing.wav\n")
    (part / "text").write_text("swing 今天\n", encoding="utf-8")
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "manifests")
    compute_fbank(
        "toy", "train", tmp_path / "manifests", tmp_path / "fbank", speeds=(0.8,), pitch=True
    )
    plain, slow = (
        cut.load_features()[:, 81] for cut in load_cuts(tmp_path / "fbank", "toy", "train")
    )
    assert len(plain) == 300 and len(slow) == 375
    # A frame of the slow copy is 128 samples of the original.
    for found, step in ((plain, 160), (slow, 128)):
        middle = np.arange(len(found))[90:-90]
        assert np.corrcoef(found[middle], swing[step * middle])[0, 1] > 0.98


@pytest.mark.parametrize("high, pause", [(180, 0), (180, 1600), (240, 1600)])
def test_levels_are_told_apart(high, pause):
    """An octave without a pause is not: what repeats 240 times a second repeats 120 times too."""
    pytest.importorskip("kaldi_native_fbank")
    parts = [glide(120, 120, 0.7)[0], np.zeros(pause, np.float32), glide(high, high, 0.7)[0]]
    wave = np.concatenate(parts)
    found = pitch_features(wave, RATE, len(wave) // 160)[:, 1] / 2
    step = found[-50:-30].mean() - found[30:50].mean()
    # The mean that is subtracted moves too, by less than half of the step.
    assert 0.5 < step / np.log(high / 120) < 1.05


def test_silence_is_not_voiced():
    pytest.importorskip("kaldi_native_fbank")
    found = pitch_features(np.zeros(RATE, np.float32), RATE, 100)
    assert np.isfinite(found).all() and (found[:, 0] > -0.1).all()
    noise = np.random.default_rng(0).normal(scale=0.1, size=RATE).astype(np.float32)
    voiced = pitch_features(glide()[0], RATE, 200)[20:-20, 0].mean()
    assert pitch_features(noise, RATE, 100)[:, 0].mean() > -0.3 > voiced


@pytest.mark.parametrize("samples", [1600, 1679, 1680, 1681, 5000, 15999, 16001, 16079])
def test_frames_are_those_of_the_filter_bank(samples):
    pytest.importorskip("kaldi_native_fbank")
    wave = glide(seconds=1.5)[0][None, :samples]
    config = FbankConfig(sampling_rate=RATE, num_filters=80)
    bank = Fbank(config).extract(wave, RATE)
    both = fbank_with_pitch(config).extract(wave, RATE)
    assert both.shape == (len(bank), 83)
    assert np.array_equal(both[:, :80], bank)


def test_the_whole_way(corpus, tmp_path):
    """Stored, validated, normalised and augmented, with copies of other speeds."""
    pytest.importorskip("kaldi_native_fbank")
    prepare_manifests(corpus, "toy", ["train", "dev"], tmp_path / "manifests")
    options = {"manifest_dir": tmp_path / "manifests", "fbank_dir": tmp_path / "fbank"}
    compute_fbank("toy", "train", speeds=(0.9,), write_cmvn=True, pitch=True, **options)
    compute_fbank("toy", "dev", pitch=True, **options)
    assert validate_cuts(tmp_path / "fbank", "toy", "train", pitch=True).utterances == 12
    with pytest.raises(GmotError, match="83 bins, expected 80"):
        validate_cuts(tmp_path / "fbank", "toy", "train")
    mean, std = load_cmvn(tmp_path / "fbank", "toy")
    assert len(mean) == len(std) == 83
    cuts = load_cuts(tmp_path / "fbank", "toy", "dev")
    assert cuts[0].load_features().shape[1] == 83
    config = DataConfig(spec_augment=SpecAugmentConfig(p=1.0))
    data = AsrDataModule(tmp_path / "fbank", "toy", config, seed=1)
    batch = next(iter(data.train_dataloader("train")))
    assert batch.features.shape[2] == 83
    # Nothing of the mean of the filter bank (about -10) gets into the pitch.
    assert batch.features[0, : batch.lengths[0], 80].min() > -2
    # Other features than without: made again, not taken for these.
    assert compute_fbank("toy", "dev", tmp_path / "manifests", tmp_path / "fbank") == 3
    assert load_cuts(tmp_path / "fbank", "toy", "dev")[0].load_features().shape[1] == 80


def test_masks_know_the_pitch():
    config = SpecAugmentConfig(time_warp_factor=0, num_feature_masks=1, features_mask_size=5, p=1.0)
    features = torch.cat(
        [torch.full((400, 10), -8.0) + torch.randn(400, 10), torch.rand(400, 3)], 1
    )
    changed = spec_augment(config, features, generator_for(0), num_others=3)
    masked = (changed[:, :10] != features[:, :10]).all(dim=1)
    assert masked.any() and not masked.all()
    # No frequency mask reaches the pitch; time masks put its own mean there.
    assert torch.equal(changed[~masked, 10:], features[~masked, 10:])
    others = changed[masked, 10:]
    torch.testing.assert_close(others, features[:, 10:].mean(dim=0).expand_as(others))
