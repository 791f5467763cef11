"""HCM: cross-modal encoder with Sinkhorn attention (arXiv 2309.16093).

A small encoder of the transcript's tokens attends to the frames of Conformer blocks by Sinkhorn
attention and is trained to output the teacher's features. It is shared by all blocks (Fig. 2) and
dropped after training.

Ours, where the paper is silent: a learned embedding of the CTC symbols; sinusoidal positions; one
head; attention cost 1 - cos, as in the sister papers; the teacher's last layer as target of every
block; in Eq. 10 the coupling of the encoder's last layer, normalised to mass 1 as in the sister
papers (as written, Eq. 10 grows with the number of frames).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gmot.ot import TransportResult
from gmot.ot.precision import no_autocast
from gmot.ot.problem import (
    Checks,
    check_iterations,
    check_lengths,
    check_positive,
    length_mask,
    uniform_marginal,
)
from gmot.ot.result import Objective
from gmot.transfer.config import TransferConfig
from gmot.transfer.losses import TransferLoss, check_features, token_distances
from gmot.transfer.sequence_graphs import unit, unit_distance


def sinkhorn_attention(
    cost: Tensor, token_mask: Tensor, frame_mask: Tensor, epsilon: float, normalizations: int
) -> Tensor:
    """Attention weights by alternating normalisation (Eq. 11), in the log domain.

    gamma_0 = exp(-C / epsilon); then rows (weights of a token over the frames) and columns (weights
    of a frame over the tokens) are normalised to 1 in turn, rows first. One normalisation of
    C = -<z, h> is the attention of a transformer (Eq. 12, 13). Gradients pass through all of them.

    Args:
      cost: (N, L, T), tokens x frames; finite on padding.
      token_mask, frame_mask: (N, L), (N, T), True = valid, at least one each per utterance.
      epsilon: temperature, alpha of Eq. 11.
      normalizations: two per iteration of Eq. 11, which ends on columns.
    Returns:
      gamma (N, L, T), exactly zero on padding.
    Raises:
      ValueError: epsilon or normalizations not positive.
    """
    check_positive(epsilon, "epsilon")
    check_iterations(normalizations, "normalizations")
    kernel = cost / -epsilon
    no_token, no_frame = ~token_mask.unsqueeze(2), ~frame_mask.unsqueeze(1)
    columns = torch.zeros_like(kernel[:, :1]).masked_fill(no_frame, -math.inf)
    for step in range(normalizations):
        if step % 2 == 0:
            rows = -(kernel + columns).logsumexp(2, keepdim=True).masked_fill(no_token, math.inf)
        else:
            columns = -(kernel + rows).logsumexp(1, keepdim=True).masked_fill(no_frame, math.inf)
    return (kernel + rows + columns).exp()


class CrossModalLayer(nn.Module):
    """Sinkhorn attention to the frames and a linear layer, each with residual and norm (Eq. 4, 5).

    ``epsilon``: temperature; ``iterations``: of two normalisations each.
    """

    def __init__(self, width: int, epsilon: float, iterations: int):
        super().__init__()
        self.epsilon, self.iterations = epsilon, iterations
        self.norm_attention = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)
        self.norm_fc = nn.LayerNorm(width)

    def forward(
        self, z: Tensor, h: Tensor, units: Tensor, token_mask: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """z (N, L, D), h (N, T, D) and its unit vectors, masks True = valid.

        Returns Z_i (N, L, D), and the attention weights and their cost (N, L, T).
        """
        cost = unit_distance(unit(z), units)
        gamma = sinkhorn_attention(cost, token_mask, frame_mask, self.epsilon, 2 * self.iterations)
        z = self.norm_attention(z + torch.bmm(gamma, h))  # Eq. 8
        return self.norm_fc(z + self.fc(z)), gamma, cost


class CrossModalEncoder(nn.Module):
    """Encoder of tokens and frames into the teacher's space (Eq. 3): M_t :class:`CrossModalLayer`.

    ``vocab_size``: CTC symbols; [CLS] and [SEP] are added.
    """

    def __init__(
        self, vocab_size: int, width: int, num_layers: int, epsilon: float, iterations: int
    ):
        super().__init__()
        check_iterations(num_layers, "num_layers")
        self.embedding = nn.Embedding(vocab_size + 2, width)
        self.layers = nn.ModuleList(
            CrossModalLayer(width, epsilon, iterations) for _ in range(num_layers)
        )

    def token_ids(self, labels: Tensor, lengths: Tensor, size: int) -> Tensor:
        """(N, size): [CLS], the ``labels`` (N, S) of ``lengths`` (N,), [SEP], 0 on padding."""
        cls, sep = self.embedding.num_embeddings - 2, self.embedding.num_embeddings - 1
        ids = pad(labels, (1, max(0, size - labels.size(1) - 1)), value=cls)[:, :size]
        positions = torch.arange(size, device=labels.device)
        ends = lengths.unsqueeze(1) + 1
        return ids.masked_fill(positions == ends, sep).masked_fill(positions > ends, 0)

    def forward(
        self, token_ids: Tensor, h: Tensor, token_mask: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Z_0 is the embedding plus positions; each layer reads the same frames.

        Args:
          token_ids: (N, L), of :meth:`token_ids`.
          h: (K N, T, D), the frames of K blocks one after the other.
          token_mask, frame_mask: (K N, L), (K N, T), True = valid.
        Returns:
          Z_{M_t} with the coupling and cost of the last layer, each (K N, ...).
        """
        z = self.embedding(token_ids)
        z = z + sinusoids(z.size(1), z.size(2), z)
        z = z.repeat(h.size(0) // z.size(0), 1, 1)
        units = unit(h)
        for layer in self.layers:
            z, gamma, cost = layer(z, h, units, token_mask, frame_mask)
        return z, gamma, cost


def sinusoids(size: int, width: int, like: Tensor) -> Tensor:
    """(size, width): sines and cosines of the positions 0, 1, ..., in the type of ``like``."""
    positions = torch.arange(size, device=like.device, dtype=like.dtype)
    pairs = torch.arange(0, width, 2, device=like.device, dtype=like.dtype)
    angles = positions[:, None] * torch.exp(pairs * (-math.log(10000.0) / width))
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]


class CrossModalTransfer(nn.Module):
    """HCM's losses, summed over blocks (Eq. 7, 10 and the sums of Eq. 16)."""

    def __init__(self, config: TransferConfig, vocab_size: int, d_teacher: int):
        super().__init__()
        self.config = config
        # beta is the alpha of Eq. 11 and that of Eq. 10.
        attention = (config.cross_modal_layers, config.beta, config.sinkhorn_iterations)
        self.encoder = CrossModalEncoder(vocab_size, d_teacher, *attention)

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """Conformer blocks whose frames are matched, counted from 1; always includes the last."""
        step = self.config.block_step or num_layers
        return tuple(range(num_layers, 0, -step))[::-1]

    def forward(
        self,
        blocks: Sequence[Tensor],
        h_lengths: Any,
        z: Tensor,
        z_lengths: Any,
        labels: Tensor,
        label_lengths: Tensor,
        validate: bool = True,
    ) -> TransferLoss:
        """Match the frames of each block with the tokens.

        Args:
          blocks: (N, T, D) per block, H_i of Eq. 2; padding must be finite.
          h_lengths: (N,) frames.
          z: (N, L, D) teacher features, [CLS] and [SEP] included.
          z_lengths: (N,), two more than labels.
          labels: (N, S) integers, padded, without special tokens, on the device of ``z``.
          label_lengths: (N,).
          validate: see :func:`gmot.transfer.losses.transport_loss`.
        Returns:
          Losses per utterance, summed over blocks, in float32 (float64 for float64 inputs), without
          autocast. ``result`` belongs to the last block; its plan is the coupling of the encoder's
          last layer, normalised to mass 1, frames x tokens.
        Raises:
          ValueError: invalid input; names argument and item.
        """
        count, utterances = len(blocks), z.size(0)
        h, z = check_features(torch.cat(tuple(blocks)), z.repeat(count, 1, 1))
        checks = Checks(validate)
        h_lengths, z_lengths = _check_lengths(h, z, h_lengths, z_lengths, utterances, checks)
        label_lengths = _check_labels(labels, label_lengths, z_lengths[:utterances], checks)
        checks.raise_if_any()
        ids = self.encoder.token_ids(labels, label_lengths, z.size(1))
        token_mask = length_mask(z_lengths, z.size(1))
        frame_mask = length_mask(h_lengths, h.size(1))
        with no_autocast(h.device):
            tokens, gamma, cost = self.encoder(ids, h, token_mask, frame_mask)
        alignment = token_distances(tokens, z, z_lengths, self.config.alignment_tokens == "all")

        plan = gamma / gamma.sum((1, 2), keepdim=True)
        node = (plan * cost).sum((1, 2))
        # x log x without its infinite slope at 0, where padding lies.
        entropy = (plan * plan.clamp_min(torch.finfo(plan.dtype).tiny).log()).sum((1, 2))
        value = node + self.config.beta * entropy
        rows = uniform_marginal(z_lengths, z.size(1), plan.dtype)
        columns = uniform_marginal(h_lengths, h.size(1), plan.dtype)
        error = (plan.sum(2) - rows).abs().sum(1) + (plan.sum(1) - columns).abs().sum(1)
        parts = (value, node, torch.zeros_like(node), entropy)
        last = Objective(*(x[-utterances:] for x in parts))
        iterations = torch.full_like(h_lengths[-utterances:], self.config.sinkhorn_iterations)
        plan, error = plan[-utterances:].detach().transpose(1, 2), error[-utterances:].detach()
        result = TransportResult(plan, error, iterations, lambda: last)
        losses = (*alignment, value if self.config.entropy_in_value else node)
        summed, mean, transport = (x.view(count, utterances).sum(0) for x in losses)
        return TransferLoss(summed, mean, transport, result)


def _check_lengths(
    h: Tensor, z: Tensor, h_lengths: Any, z_lengths: Any, utterances: int, checks: Checks
) -> tuple[Tensor, Tensor]:
    """Frames and tokens of the utterances of all blocks, (K N,) each."""
    count = z.size(0) // utterances
    h_lengths = check_lengths(h_lengths, "h_lengths", utterances, h.size(1), h.device, checks)
    z_lengths = check_lengths(z_lengths, "z_lengths", utterances, z.size(1), z.device, checks)
    for name, x in (("blocks", h), ("z", z)):
        is_bad = partial(_not_finite, x, utterances)
        checks.add(is_bad, f"{name}: item {{item}} has NaN, infinite or huge values.")
    return h_lengths.repeat(count), z_lengths.repeat(count)


def _not_finite(x: Tensor, utterances: int) -> Tensor:
    """(N,) bool of (K N, T, D)."""
    return (~torch.isfinite(x.detach().square().sum((1, 2)))).view(-1, utterances).any(0)


def _check_labels(labels: Tensor, lengths: Any, z_lengths: Tensor, checks: Checks) -> Tensor:
    """Lengths (N,) of the labels."""
    count = len(z_lengths)
    if labels.dim() != 2 or labels.is_floating_point() or len(labels) != count:
        found = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ValueError(f"labels: expected integers of shape ({count}, S), found {found}.")
    shape = (count, labels.size(1), labels.device, Checks(False))
    lengths = check_lengths(lengths, "label_lengths", *shape)
    checks.add(
        lambda: lengths + 2 != z_lengths,
        "label_lengths: item {item} has not two less than z_lengths.",
    )
    return lengths
