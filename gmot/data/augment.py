"""SpecAugment (Park et al. 2019) with lhotse's parameters and its own generator.

lhotse's module draws from three global generators, so what it does to an
utterance depends on everything drawn before, on the number of workers and on
the rest of the batch; it also fails where no time mask is asked for or an
utterance is very short. Here what happens to an utterance is a function of
(seed, epoch, utterance) alone, which is what makes a resumed run equal to one
that was never stopped.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gmot.common import GmotError


@dataclass(frozen=True)
class SpecAugment:
    """Time warping, then frequency masks, then time masks; masks are the mean.

    Args:
      time_warp_factor: W: a frame at least W from both ends moves by at most W
        frames; 0 disables. Utterances of up to 2 W + 1 frames are not warped.
      num_feature_masks: at most so many frequency masks; 0 disables.
      features_mask_size: F: each is narrower than this many bins.
      num_frame_masks: at most so many time masks; 0 disables.
      frames_mask_size: T: each is shorter than this many frames.
      max_frames_mask_fraction: all time masks together cover at most this
        share of an utterance.
      p: share of the utterances that are changed at all.
      num_others: columns behind the bins (pitch): frequency masks leave them alone,
        and time masks put their own means there.

    Raises:
      GmotError: a value is out of its range.
    """

    time_warp_factor: int = 80
    num_feature_masks: int = 2
    features_mask_size: int = 27
    num_frame_masks: int = 10
    frames_mask_size: int = 100
    max_frames_mask_fraction: float = 0.15
    p: float = 0.9
    num_others: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("time_warp_factor", 0, math.inf),
            ("num_feature_masks", 0, math.inf),
            ("features_mask_size", 1, math.inf),
            ("num_frame_masks", 0, math.inf),
            ("frames_mask_size", 1, math.inf),
            ("max_frames_mask_fraction", 0, 1),
            ("p", 0, 1),
            ("num_others", 0, math.inf),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                expected = f"{low} or more" if high == math.inf else f"{low} to {high}"
                option = f"--spec-aug-{name.replace('_', '-')}"
                raise GmotError(f"{option} {value}: expected {expected}.")

    def __call__(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Change a copy of one utterance's features ``(T, F)``, without padding."""

        def draw(high: int) -> int:  # 0 ... high - 1
            return int(torch.randint(high, (1,), generator=generator))

        if torch.rand(1, generator=generator) >= self.p:
            return features
        features = features.clone()
        frames, bins = len(features), features.size(1) - self.num_others
        warp = self.time_warp_factor
        if warp >= 1 and frames > 2 * warp + 1:
            center = warp + 1 + draw(frames - 2 * warp - 1)
            features = _warp(features, center, center - warp + draw(2 * warp + 1))
        mean = features[:, :bins].mean()
        means = torch.cat([mean.expand(bins), features[:, bins:].mean(dim=0)])
        for _ in range(self.num_feature_masks):
            width = draw(min(self.features_mask_size, bins))
            start = draw(bins - width + 1)
            features[:, start : start + width] = mean
        budget = self.max_frames_mask_fraction * frames
        masks = min(self.num_frame_masks, math.ceil(budget / self.frames_mask_size))
        for _ in range(masks):
            width = draw(max(1, min(self.frames_mask_size, int(budget / masks) + 1)))
            start = draw(frames - width + 1)
            features[start : start + width] = means
        return features


def _warp(features: Tensor, center: int, warped: int) -> Tensor:
    """Stretch ``(T, F)`` so that frame ``center`` comes to lie at ``warped``."""
    if center == warped:
        return features
    frames = len(features)
    rows = features.t().unsqueeze(0)  # (1, F, T)
    # Along time alone, so linear interpolation within each bin.
    parts = [(rows[..., :center], warped), (rows[..., center:], frames - warped)]
    stretched = [
        torch.nn.functional.interpolate(part, size=size, mode="linear", align_corners=False)
        for part, size in parts
    ]
    return torch.cat(stretched, dim=-1).squeeze(0).t().contiguous()


def generator_for(*key: object) -> torch.Generator:
    """A generator whose numbers depend on ``key`` alone."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
