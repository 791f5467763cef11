"""Acoustic model of training, export and decoding: subsampling, Conformer, adapter, CTC head."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gmot.model.adapter import Adapter
from gmot.model.config import ModelConfig
from gmot.model.conformer import Conformer
from gmot.model.subsampling import Conv2dSubsampling, length_mask, output_length


class CtcOutput(NamedTuple):
    """Output of the model for T' subsampled frames."""

    log_probs: Tensor  # (N, T', C), float32
    lengths: Tensor  # (N,), valid output frames
    acoustic: Tensor | None  # (N, T', D), nodes of the acoustic graph (FC2), of the adapter
    intermediate: tuple[Tensor, ...] = ()  # (N, T', D) per requested block


class CtcModel(nn.Module):
    """Conformer-CTC, optionally with the adapter of knowledge transfer.

    Inference needs this module only: teacher and transport are not part of it.

    ``cmvn``: (mean, std) of the training features, (num_features,) each; None: no normalisation
    until a checkpoint is loaded.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: ModelConfig, cmvn: tuple[Tensor, Tensor] | None = None):
        super().__init__()
        self.config = config
        mean, std = cmvn or (torch.zeros(config.num_features), torch.ones(config.num_features))
        self.register_buffer("feature_mean", mean.float())
        self.register_buffer("feature_std", std.float())
        self.subsampling = Conv2dSubsampling(
            config.num_features, config.d_model, config.subsampling_channels
        )
        self.encoder = Conformer(config)
        self.adapter: Adapter | None = None
        if config.teacher_dim is not None:
            self.adapter = Adapter(config.d_model, config.teacher_dim, config.adapter_scale)
        self.head = nn.Linear(config.d_model, config.vocab_size)

    def forward(self, features: Tensor, lengths: Tensor, layers: Sequence[int] = ()) -> CtcOutput:
        """Log-probabilities of the CTC symbols.

        Args:
          features: (N, T, F) log-mel fbank, padded.
          lengths: (N,) frames per utterance, at least ``MIN_FRAMES``.
          layers: Conformer blocks, counted from 1, to return in the teacher's space (training).
        Raises:
          ValueError: a layer out of range, or layers of a model without adapter.
        """
        if layers and self.adapter is None:
            raise ValueError(f"layers: {tuple(layers)} of a model without adapter.")
        output_lengths = output_length(lengths)
        x = self.subsampling((features - self.feature_mean) / self.feature_std)
        x, blocks = self.encoder(x, length_mask(output_lengths, x.size(1)), layers)
        acoustic: Tensor | None = None
        intermediate: tuple[Tensor, ...] = ()
        if self.adapter is not None:
            x, acoustic = self.adapter(x)
            intermediate = tuple(
                acoustic if layer == self.config.num_layers else self.adapter.nodes(block)
                for layer, block in zip(layers, blocks)
            )
        # float32 under autocast too: k2 and the CTC loss require it.
        log_probs = self.head(x).float().log_softmax(dim=-1)
        return CtcOutput(log_probs, output_lengths, acoustic, intermediate)
