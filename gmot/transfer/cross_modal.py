"""HCM: a cross-modal encoder with Sinkhorn attention (arXiv 2309.16093).

The tokens of a transcript enter a small encoder of their own, read the frames of some of the
Conformer's blocks by Sinkhorn attention, and have to arrive at the teacher's features. The encoder
and its matching are shared by all blocks (Fig. 2) and are dropped after training.

The paper leaves open, and ours are: a token embedding that is learned, over the recogniser's
symbols; sinusoids for positions; one head; the cost of the attention, 1 - cos as in its sister
papers; as target of every block the teacher's last layer; as the coupling of Eq. 10 that of the
encoder's last layer, brought to mass 1 as in the sister papers (as written, Eq. 10 grows with
the number of frames).
"""

import math
from typing import Any, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn

from gmot.graphs import unit, unit_distance
from gmot.ot import TransportResult
from gmot.ot.problem import (
    Checks,
    check_iterations,
    check_lengths,
    check_positive,
    length_mask,
    no_autocast,
    uniform_weights,
)
from gmot.ot.result import Objective
from gmot.transfer.losses import TransferLoss, check_features, token_distances
from gmot.transfer.systems import TransferSettings


def sinkhorn_attention(
    cost: Tensor, token_mask: Tensor, frame_mask: Tensor, epsilon: float, normalizations: int
) -> Tensor:
    """Attention weights by alternating normalisation (Eq. 11), in the log domain.

    gamma_0 = exp(-C / epsilon); then rows (each token's weights over the frames) and columns
    (each frame's over the tokens) are brought to sum 1 in turn, rows first. One normalisation of
    C = -<z, h> is the attention of a transformer (Eq. 12, 13). Gradients go through all of them.

    Args:
      cost: (N, L, T), tokens x frames; finite on padding too, where it has no effect.
      token_mask, frame_mask: (N, L), (N, T), true within an utterance, which has at
        least one of each.
      epsilon: temperature; alpha of Eq. 11.
      normalizations: how many; an iteration of Eq. 11 is two, and ends on columns.
    Returns:
      gamma, (N, L, T), exactly zero on padding.
    Raises:
      ValueError: epsilon or normalizations below what makes sense.
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


class Matching(NamedTuple):
    """What a layer of the encoder makes.

    Attributes:
      tokens: (N, L, D) Z_i.
      gamma: (N, L, T) its attention weights.
      cost: (N, L, T) what they were made from.
    """

    tokens: Tensor
    gamma: Tensor
    cost: Tensor


class CrossModalLayer(nn.Module):
    """Sinkhorn attention to the frames, then a linear layer, each added and normalised (Eq. 4, 5).

    Args:
      width: D.
      epsilon, iterations: of the attention; an iteration is two normalisations.
    """

    def __init__(self, width: int, epsilon: float, iterations: int):
        super().__init__()
        self.epsilon, self.iterations = epsilon, iterations
        self.norm_attention = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)
        self.norm_fc = nn.LayerNorm(width)

    def forward(
        self, z: Tensor, h: Tensor, units: Tensor, token_mask: Tensor, frame_mask: Tensor
    ) -> Matching:
        """z (N, L, D), h (N, T, D) and its unit vectors; masks as in the attention."""
        cost = unit_distance(unit(z), units)
        gamma = sinkhorn_attention(cost, token_mask, frame_mask, self.epsilon, 2 * self.iterations)
        z = self.norm_attention(z + torch.bmm(gamma, h))  # Eq. 8
        return Matching(self.norm_fc(z + self.fc(z)), gamma, cost)


class CrossModalEncoder(nn.Module):
    """From tokens and frames to vectors in the teacher's space (Eq. 3).

    Args:
      vocab_size: symbols of the recogniser; [CLS] and [SEP] are added to them.
      width: of the teacher's features, D.
      num_layers: M_t.
      epsilon, iterations: of the attention.
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

    def token_ids(self, labels: Sequence[Sequence[int]], size: int, device: torch.device) -> Tensor:
        """(N, size): [CLS], the labels, [SEP], and 0 on padding."""
        cls, sep = self.embedding.num_embeddings - 2, self.embedding.num_embeddings - 1
        rows = [[cls, *ids, sep] + [0] * (size - len(ids) - 2) for ids in labels]
        return torch.tensor(rows, device=device)

    def forward(
        self, token_ids: Tensor, h: Tensor, token_mask: Tensor, frame_mask: Tensor
    ) -> Matching:
        """Z_0 is the embedding plus positions; each layer reads the same frames.

        Args:
          token_ids: (N, L), of :meth:`token_ids`.
          h: (K N, T, D), the frames of K blocks one after the other.
          token_mask: (K N, L), true within an utterance.
          frame_mask: (K N, T), likewise.
        Returns:
          Z_{M_t} with the coupling and cost of the last layer, each (K N, ...).
        """
        z = self.embedding(token_ids)
        z = z + sinusoids(z.size(1), z.size(2), z)
        z = z.repeat(h.size(0) // z.size(0), 1, 1)
        units = unit(h)
        for layer in self.layers:
            found = layer(z, h, units, token_mask, frame_mask)
            z = found.tokens
        return found


def sinusoids(size: int, width: int, like: Tensor) -> Tensor:
    """(size, width): sines and cosines of the positions 0, 1, ..., in the type of ``like``."""
    positions = torch.arange(size, device=like.device, dtype=like.dtype)
    pairs = torch.arange(0, width, 2, device=like.device, dtype=like.dtype)
    angles = positions[:, None] * torch.exp(pairs * (-math.log(10000.0) / width))
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]


class CrossModalTransfer(nn.Module):
    """HCM's losses, summed over blocks (Eq. 7, 10 and the sums of Eq. 16).

    Args:
      settings: of the system.
      vocab_size: symbols of the recogniser.
      d_teacher: width of the teacher's features.
    """

    def __init__(self, settings: TransferSettings, vocab_size: int, d_teacher: int):
        super().__init__()
        self.settings = settings
        self.encoder = CrossModalEncoder(
            vocab_size,
            d_teacher,
            settings.cross_modal_layers,
            settings.beta,  # of Eq. 11 and of Eq. 10: both are called alpha
            settings.sinkhorn_iterations,
        )

    def taps(self, num_layers: int) -> Tuple[int, ...]:
        """The blocks that are matched, counted from 1, the last of them among them."""
        step = self.settings.block_step or num_layers
        return tuple(range(num_layers, 0, -step))[::-1]

    def forward(
        self,
        blocks: Sequence[Tensor],
        lens: Any,
        z: Tensor,
        z_lens: Any,
        labels: Sequence[Sequence[int]],
    ) -> TransferLoss:
        """Match the frames of each block with the tokens.

        Args:
          blocks: (N, T, D) of each tapped block, H_i of Eq. 2; what lies beyond the
            lengths must be finite and has no effect.
          lens: (N,) frames.
          z: (N, L, D) teacher's features, [CLS] and [SEP] included.
          z_lens: (N,), two more than there are labels.
          labels: of each utterance, without special tokens.
        Returns:
          Losses per utterance, sums over the blocks, float32 (float64 when given),
          whatever the autocast. ``result`` is that of the last block: its plan is the
          last layer's coupling, brought to mass 1 and turned to frames x tokens.
        Raises:
          ValueError: naming the argument and the item.
        """
        count, utterances = len(blocks), z.size(0)
        h, z = check_features(torch.cat(tuple(blocks)), z.repeat(count, 1, 1))
        lens, z_lens = self._lengths(h, lens, z, z_lens, labels, count)
        ids = self.encoder.token_ids(labels, z.size(1), z.device)
        token_mask, frame_mask = length_mask(z_lens, z.size(1)), length_mask(lens, h.size(1))
        with no_autocast(h.device):
            tokens, gamma, cost = self.encoder(ids, h, token_mask, frame_mask)
        every_token = self.settings.alignment_tokens == "all"
        alignment, alignment_mean = token_distances(tokens, z, z_lens, every_token)

        plan = gamma / gamma.sum((1, 2), keepdim=True)
        node = (plan * cost).sum((1, 2))
        # x log x without its infinite slope at 0, where padding lies.
        entropy = (plan * plan.clamp_min(torch.finfo(plan.dtype).tiny).log()).sum((1, 2))
        value = node + self.settings.beta * entropy
        error = (plan.sum(2) - uniform_weights(z_lens, z.size(1), plan.dtype)).abs().sum(1)
        error = error + (plan.sum(1) - uniform_weights(lens, h.size(1), plan.dtype)).abs().sum(1)
        transport = value if self.settings.entropy_in_value else node

        def over_blocks(loss: Tensor) -> Tensor:
            return loss.view(count, utterances).sum(0)

        def last_block(quantity: Tensor) -> Tensor:
            return quantity[-utterances:]

        parts = Objective(value, node, torch.zeros_like(node), entropy)
        result = TransportResult(
            plan=last_block(plan).detach().transpose(1, 2),
            marginal_error=last_block(error).detach(),
            iterations=torch.full_like(last_block(lens), self.settings.sinkhorn_iterations),
            objective=lambda: Objective(*(last_block(part) for part in parts)),
        )
        return TransferLoss(
            over_blocks(alignment), over_blocks(alignment_mean), over_blocks(transport), result
        )

    def _lengths(
        self,
        h: Tensor,
        lens: Any,
        z: Tensor,
        z_lens: Any,
        labels: Sequence[Sequence[int]],
        count: int,
    ) -> Tuple[Tensor, Tensor]:
        """Frames and tokens of the utterances of all blocks, (K N,) each, checked."""
        checks, utterances = Checks(), z.size(0) // count
        lens = check_lengths(lens, "lens", utterances, h.size(1), h.device, checks)
        z_lens = check_lengths(z_lens, "z_lens", utterances, z.size(1), z.device, checks)
        expected = torch.tensor([len(ids) + 2 for ids in labels], device=z.device)
        if expected.shape != z_lens.shape:
            raise ValueError(f"labels: of {len(labels)} utterances, expected {utterances}.")
        checks.add(expected != z_lens, "labels: item {item} has not two less than z_lens.")
        for name, x in (("blocks", h), ("z", z)):
            bad = ~torch.isfinite(x.detach().square().sum((1, 2)))
            bad = bad.view(count, utterances).any(0)
            checks.add(bad, f"{name}: item {{item}} has NaN, infinite or huge values.")
        checks.raise_if_any()
        return lens.repeat(count), z_lens.repeat(count)
