"""Convolutional subsampling by 4 and its output length."""

from typing import TypeVar

import torch
from torch import Tensor, nn

Length = TypeVar("Length", int, Tensor)

MIN_FRAMES = 7  # shortest input with an output frame
STRIDE, CENTRE = 4, 3  # output frame i reads the 7 input frames 4 i ... 4 i + 6


def output_length(num_frames: Length) -> Length:
    """T' = ((T - 1) // 2 - 1) // 2 frames after :class:`Conv2dSubsampling`, never negative."""
    reduced = ((num_frames - 1) // 2 - 1) // 2
    return reduced.clamp(min=0) if isinstance(reduced, Tensor) else max(reduced, 0)


def frame_centres(count: int, frame_shift: float = 0.01) -> Tensor:
    """Centres of output frames in seconds, (count,) float64.

    Input frame t of the filter bank (Kaldi's, without snipped edges) has its window's centre at
    (t + 1/2) frame_shift; output frame i reads the input frames 4 i ... 4 i + 6, whose centre is
    4 i + 3: hence (4 i + 3.5) frame_shift. The Conformer's blocks see a wider context, around it.
    """
    frames = torch.arange(count, dtype=torch.float64) * STRIDE + CENTRE
    return (frames + 0.5) * frame_shift


class Conv2dSubsampling(nn.Module):
    """Two 3x3 convolutions of stride 2 with ReLU, then a linear layer (CMA-OT, section 3).

    ``channels``: of both convolutions; 256 in the papers.
    """

    def __init__(self, num_features: int, d_model: int, channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, channels, kernel_size=3, stride=2),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, stride=2),
            nn.ReLU(),
        )
        self.out = nn.Linear(channels * output_length(num_features), d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, F) -> (N, T', d_model)."""
        x = self.conv(x.unsqueeze(1))  # (N, C, T', F')
        n, c, t, f = x.shape
        return self.out(x.transpose(1, 2).reshape(n, t, c * f))


def length_mask(lengths: Tensor, max_length: int) -> Tensor:
    """(N,) -> (N, max_length), True = valid."""
    return torch.arange(max_length, device=lengths.device)[None, :] < lengths[:, None]
