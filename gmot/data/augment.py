"""SpecAugment (Park et al. 2019) with lhotse's parameters and a generator of its own.

The augmentation of an utterance is a function of (seed, epoch, utterance), so that a resumed
training equals an uninterrupted one. lhotse's module draws from three global generators, and fails
without time masks and on very short utterances.
"""

import math

import torch
from torch import Tensor

from gmot.common import seed_of
from gmot.data.config import SpecAugmentConfig


def spec_augment(
    config: SpecAugmentConfig, features: Tensor, generator: torch.Generator, num_others: int = 0
) -> Tensor:
    """Augmented copy of the features ``(T, F)`` of one utterance, without padding.

    Time warping, then frequency masks, then time masks; masks are filled with the mean. A frame at
    least ``time_warp_factor`` W from both ends moves by at most W frames; utterances of up to
    2 W + 1 frames are not warped. Frequency masks leave the last ``num_others`` columns (pitch)
    alone, time masks fill them with their own means.
    """

    def draw(high: int) -> int:  # 0 ... high - 1
        return int(torch.randint(high, (1,), generator=generator))

    if torch.rand(1, generator=generator) >= config.p:
        return features
    features = features.clone()
    frames, bins = len(features), features.size(1) - num_others
    warp = config.time_warp_factor
    if warp >= 1 and frames > 2 * warp + 1:
        center = warp + 1 + draw(frames - 2 * warp - 1)
        features = _warp(features, center, center - warp + draw(2 * warp + 1))
    mean = features[:, :bins].mean()
    means = torch.cat([mean.expand(bins), features[:, bins:].mean(dim=0)])
    for _ in range(config.num_feature_masks):
        width = draw(min(config.features_mask_size, bins))
        start = draw(bins - width + 1)
        features[:, start : start + width] = mean
    budget = config.max_frames_mask_fraction * frames
    masks = min(config.num_frame_masks, math.ceil(budget / config.frames_mask_size))
    for _ in range(masks):
        width = draw(max(1, min(config.frames_mask_size, int(budget / masks) + 1)))
        start = draw(frames - width + 1)
        features[start : start + width] = means
    return features


def _warp(features: Tensor, center: int, warped: int) -> Tensor:
    """Stretch ``(T, F)`` along time so that frame ``center`` moves to ``warped``."""
    if center == warped:
        return features
    rows = features.t().unsqueeze(0)  # (1, F, T)
    pieces = [(rows[..., :center], warped), (rows[..., center:], len(features) - warped)]
    stretched = [
        torch.nn.functional.interpolate(piece, size=size, mode="linear", align_corners=False)
        for piece, size in pieces
    ]
    return torch.cat(stretched, dim=-1).squeeze(0).t().contiguous()


def generator_for(*key: object) -> torch.Generator:
    """Generator seeded by ``key``."""
    return torch.Generator().manual_seed(seed_of(*key))
