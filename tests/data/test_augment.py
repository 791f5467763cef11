"""SpecAugment masks and warps within its bounds, and depends on its generator alone."""

import functools
import itertools
import random

import numpy as np
import pytest
import torch

from gmot.common import GmotError
from gmot.data.augment import generator_for, spec_augment
from gmot.data.config import SpecAugmentConfig


def augmentation(*values, **named):
    return functools.partial(spec_augment, SpecAugmentConfig(*values, **named))


def noise(frames=300, bins=80):
    return torch.randn(frames, bins, generator=torch.Generator().manual_seed(0))


def test_what_happens_depends_on_the_key_alone():
    features, augment = noise(), augmentation(p=1.0)
    first = augment(features, generator_for(1, 2, "utt"))
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(augment(features, generator_for(1, 2, "utt")), first)
    assert not torch.equal(augment(features, generator_for(1, 3, "utt")), first)
    assert not torch.equal(augment(features, generator_for(1, 2, "other")), first)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1] and np.random.get_state()[1].tolist() == states[2]
    assert torch.equal(features, noise())  # the input is not touched


def test_masks_are_means_within_their_limits():
    features = noise()
    augment = augmentation(time_warp_factor=0, frames_mask_size=20, p=1.0)
    touched_frames, touched_bins = [], []
    for i in range(200):
        result = augment(features, generator_for(i))
        masked = result != features
        assert torch.all(result[masked] == result[masked][0])
        assert abs(float(result[masked][0]) - float(features.mean())) < 1e-6
        whole_frames = int(masked.all(dim=1).sum())
        whole_bins = int(masked.all(dim=0).sum())
        assert whole_frames <= 0.15 * 300
        assert whole_bins <= 2 * 26
        # What is masked is full rows and full columns, nothing else.
        rows, columns = masked.all(dim=1), masked.all(dim=0)
        assert torch.equal(masked, rows[:, None] | columns[None, :])
        touched_frames.append(whole_frames)
        touched_bins.append(whole_bins)
    assert max(touched_frames) > 20 and max(touched_bins) > 27  # several masks of each kind
    assert 10 < np.mean(touched_frames) < 30  # 3 masks of 0 to 15 frames, on average 7


def test_warping_moves_frames_and_keeps_the_ends():
    ramp = torch.arange(400.0)[:, None].expand(400, 3).contiguous()
    augment = augmentation(num_feature_masks=0, num_frame_masks=0, p=1.0)
    moves = []
    for i in range(50):
        warped = augment(ramp, generator_for(i))
        assert warped.shape == ramp.shape
        assert torch.all(warped[1:, 0] >= warped[:-1, 0])  # time does not run backwards
        # Where 80 frames become one, that one is their mean.
        assert abs(warped[0, 0]) <= 40 and abs(warped[-1, 0] - 399) <= 40
        moves.append(float((warped - ramp).abs().max()))
    assert max(moves) <= 81 and np.mean(moves) > 20
    short = noise(161)  # neither end has room for 80 frames
    assert torch.equal(augment(short, generator_for(0)), short)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 10, 50])
def test_utterances_of_a_few_frames(frames):
    for i in range(50):
        for size in (1, 5, 100):
            augment = augmentation(num_frame_masks=10, frames_mask_size=size, p=1.0)
            result = augment(noise(frames), generator_for(i))
            assert result.shape == (frames, 80) and torch.isfinite(result).all()
            assert int((result != noise(frames)).all(dim=1).sum()) <= 0.15 * frames


def test_masks_reach_the_first_and_the_last():
    features = noise(20, 12)
    frames, bins = torch.zeros(20), torch.zeros(12)
    for i in range(300):
        generator = generator_for(i)
        masked = augmentation(0, 0, 1, 1, 5, 0.2, 1.0)(features, generator) != features
        frames += masked.all(dim=1)
        masked = augmentation(0, 1, 5, 0, 1, 0.0, 1.0)(features, generator) != features
        bins += masked.all(dim=0)
    # Either end is masked about as often as the other, though less than the middle.
    for counts in (frames, bins):
        assert (counts > 0).all()
        assert 0.5 < counts[0] / counts[-1] < 2
    one = augmentation(0, 0, 1, 1, 5, 1.0, 1.0)
    assert any((one(noise(1, 3) + 1, generator_for(i)) != 1).all() for i in range(9))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_warp_factor", -1),
        ("features_mask_size", 0),
        ("num_frame_masks", -2),
        ("max_frames_mask_fraction", 1.5),
        ("p", float("nan")),
    ],
)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(GmotError, match=f"{name}.*{value}"):
        SpecAugmentConfig(**{name: value})


@pytest.mark.parametrize("frames, bins", [(1, 1), (2, 3), (5, 80), (60, 2)])
def test_every_allowed_value_works(frames, bins):
    features = noise(frames, bins)
    for i, (warp, masks, size, fraction) in enumerate(
        itertools.product((0, 1, 2, 100), (0, 1, 50), (1, 2, 1000), (0.0, 0.01, 1.0))
    ):
        augment = augmentation(warp, masks, size, masks, size, fraction, 1.0)
        result = augment(features, generator_for(i))
        assert result.shape == features.shape and torch.isfinite(result).all()


def test_everything_can_be_switched_off():
    off = augmentation(time_warp_factor=0, num_feature_masks=0, num_frame_masks=0, p=1.0)
    assert torch.equal(off(noise(), generator_for(0)), noise())
    sometimes = augmentation(p=0.3)
    changed = [not torch.equal(sometimes(noise(), generator_for(i)), noise()) for i in range(400)]
    assert 0.2 < np.mean(changed) < 0.4
