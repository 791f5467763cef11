"""Conformer encoder (Gulati et al., 2020) with relative or absolute positions.

The papers (CMA-OT, arXiv 2309.13650, Eq. 1; TOT; HCM; GM-OT) add an absolute encoding to the input,
X + PE(X). Our default is relative positions in the attention, as in the original Conformer.

An utterance's output does not depend on the other utterances of its batch: attention and the
convolution module mask padding, and layer normalisation replaces batch normalisation.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmot.model.config import ModelConfig


class Sinusoids(nn.Module):
    """Sinusoidal position encodings (Vaswani et al., 2017, 3.5).

    ``relative(T)``: distances T-1 ... -(T-1), ``(2T-1, d_model)`` (Dai et al., 2019);
    ``absolute(T)``: frames 0 ... T-1, ``(T, d_model)``.
    """

    rates: Tensor

    def __init__(self, d_model: int):
        super().__init__()
        rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        self.register_buffer("rates", rates, persistent=False)

    def relative(self, num_frames: int) -> Tensor:
        return self._encode(num_frames - 1, -num_frames, -1)

    def absolute(self, num_frames: int) -> Tensor:
        return self._encode(0, num_frames, 1)

    def _encode(self, start: int, end: int, step: int) -> Tensor:
        positions = torch.arange(start, end, step, device=self.rates.device)
        angles = positions.to(self.rates)[:, None] * self.rates
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class RelativeAttention(nn.Module):
    """Multi-head self-attention with relative positions (Dai et al., 2019, 3.3)."""

    def __init__(self, d_model: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj = nn.Linear(d_model, 3 * d_model)
        self.pos_proj = nn.Linear(d_model, d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model)
        head = d_model // num_heads
        self.content_bias = nn.Parameter(torch.zeros(num_heads, head))
        self.position_bias = nn.Parameter(torch.zeros(num_heads, head))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """x (N, T, C), positions (2T-1, C), mask (N, T) True = valid -> (N, T, C)."""
        n, t, c = x.shape
        h = self.num_heads
        q, k, v = self.in_proj(x).view(n, t, 3, h, c // h).unbind(2)  # (N, T, H, C/H)
        p = self.pos_proj(positions).view(2 * t - 1, h, c // h)
        content = torch.einsum("nihd,njhd->nhij", q + self.content_bias, k)
        position = torch.einsum("nihd,phd->nhip", q + self.position_bias, p)
        scores = (content + _shift(position)) / math.sqrt(c // h)
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        return self.out_proj(torch.einsum("nhij,njhd->nihd", weights, v).reshape(n, t, c))


class AbsoluteAttention(nn.MultiheadAttention):
    """Multi-head self-attention over content only (positions are added to the input)."""

    def __init__(self, d_model: int, num_heads: int, dropout: float):
        super().__init__(d_model, num_heads, dropout, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, positions: Tensor | None, mask: Tensor
    ) -> Tensor:
        """x (N, T, C), mask (N, T) True = valid -> (N, T, C); ``positions`` is unused."""
        return super().forward(x, x, x, key_padding_mask=~mask, need_weights=False)[0]


def _shift(scores: Tensor) -> Tensor:
    """(N, H, T, 2T-1) by distance -> (N, H, T, T) by key: row i takes columns T-1-i ... 2T-2-i."""
    n, h, t, width = scores.shape
    scores = scores.contiguous()  # einsum may have permuted it
    return scores.as_strided(
        (n, h, t, t),
        (h * t * width, t * width, width - 1, 1),
        storage_offset=scores.storage_offset() + t - 1,
    )


class ConvolutionModule(nn.Module):
    """Pointwise, GLU, depthwise, norm, Swish, pointwise."""

    def __init__(self, d_model: int, kernel_size: int, dropout: float):
        super().__init__()
        self.pointwise_in = nn.Linear(d_model, 2 * d_model)
        self.depthwise = nn.Conv1d(
            d_model, d_model, kernel_size, padding=kernel_size // 2, groups=d_model
        )
        self.norm = nn.LayerNorm(d_model)
        self.pointwise_out = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (N, T, C), mask (N, T) True = valid -> (N, T, C)."""
        x = F.glu(self.pointwise_in(x), dim=-1).masked_fill(~mask[:, :, None], 0.0)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.pointwise_out(F.silu(self.norm(x))))


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, norm (CMA-OT, Eq. 2)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width, dropout = config.d_model, config.dropout

        def feed_forward() -> nn.Sequential:
            return nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, config.ffn_dim),
                nn.SiLU(),
                nn.Dropout(dropout),
                nn.Linear(config.ffn_dim, width),
                nn.Dropout(dropout),
            )

        self.ffn1 = feed_forward()
        self.attention_norm = nn.LayerNorm(width)
        attention = RelativeAttention if config.positions == "relative" else AbsoluteAttention
        self.attention = attention(width, config.num_heads, dropout)
        self.attention_dropout = nn.Dropout(dropout)
        self.convolution_norm = nn.LayerNorm(width)
        self.convolution = ConvolutionModule(width, config.kernel_size, dropout)
        self.ffn2 = feed_forward()
        self.final_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Tensor | None, mask: Tensor) -> Tensor:
        """x (N, T, C), relative positions (2T-1, C), mask (N, T) True = valid -> (N, T, C)."""
        x = x + 0.5 * self.ffn1(x)
        x = x + self.attention_dropout(self.attention(self.attention_norm(x), positions, mask))
        x = x + self.convolution(self.convolution_norm(x), mask)
        x = x + 0.5 * self.ffn2(x)
        return self.final_norm(x)


class Conformer(nn.Module):
    """Stack of Conformer blocks over subsampled frames."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.positions = config.positions
        self.sinusoids = Sinusoids(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_layers))

    def forward(
        self, x: Tensor, mask: Tensor, layers: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs (N, T, C) of the last block and of ``layers``, counted from 1.

        Args:
          x: (N, T, C).
          mask: (N, T), True = valid.
        Raises:
          ValueError: a layer out of range.
        """
        if any(not 1 <= layer <= len(self.blocks) for layer in layers):
            raise ValueError(f"layers: {tuple(layers)}; the blocks are 1 to {len(self.blocks)}.")
        if self.positions == "relative":
            positions = self.dropout(self.sinusoids.relative(x.size(1)))
        else:
            positions = None
            x = x + self.sinusoids.absolute(x.size(1))
        x = self.dropout(x)
        intermediate = {}
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, positions, mask)
            if number in layers:
                intermediate[number] = x
        return x, tuple(intermediate[layer] for layer in layers)
