"""The model that is trained, exported and decoded: subsampling, Conformer, adapter, CTC head."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from gmot.common import GmotError
from gmot.model.conformer import POSITIONS, Conformer
from gmot.model.subsampling import (
    MIN_FRAMES,
    Conv2dSubsampling,
    output_length,
    padding_mask,
)
from gmot.transfer.adapter import Adapter


@dataclass(frozen=True)
class ModelConfig:
    """Everything the model's shape depends on. The defaults are the papers' size.

    Attributes:
      vocab_size: outputs of the CTC head, blank included.
      num_features: bins of the fbank.
      d_model, num_heads, ffn_dim, num_layers, kernel_size: of the Conformer.
      subsampling_channels: of the two convolutions.
      dropout: everywhere in the encoder (the papers do not say; ours).
      positions: "relative", in the attention (ours), or "absolute", added to the encoder's
        input (the papers': CMA-OT Eq. 1, TOT Eq. 1, and in words HCM and GM-OT).
      teacher_dim: width of the teacher's features; None: a model without adapter.
      adapter_scale: w_s of GM-OT Eq. 17, the weight of the way back into the encoder.
    """

    vocab_size: int
    num_features: int = 80
    d_model: int = 256
    num_heads: int = 4
    ffn_dim: int = 2048
    num_layers: int = 16
    kernel_size: int = 15
    subsampling_channels: int = 256
    dropout: float = 0.1
    positions: str = "relative"
    teacher_dim: Optional[int] = None
    adapter_scale: float = 0.1

    def __post_init__(self) -> None:
        wrong = None
        if self.d_model < 2 or self.d_model % self.num_heads or self.d_model % 2:
            wrong = (
                f"--d-model {self.d_model}: expected an even multiple of --num-heads "
                f"{self.num_heads}"
            )
        elif self.kernel_size % 2 == 0:
            wrong = f"--kernel-size {self.kernel_size}: expected an odd number"
        elif self.positions not in POSITIONS:
            wrong = f"--positions {self.positions}: expected one of {', '.join(POSITIONS)}"
        elif not 0 <= self.dropout < 1:
            wrong = f"--dropout {self.dropout}: expected a number from 0 to below 1"
        elif min(self.ffn_dim, self.num_layers, self.subsampling_channels) < 1:
            wrong = "--ffn-dim, --num-layers and --subsampling-channels: expected 1 or more"
        elif output_length(self.num_features) < 1:
            wrong = f"features of {self.num_features} bins: expected {MIN_FRAMES} or more"
        if wrong:
            raise GmotError(f"{wrong}. Change the option or its config file.")

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Dict[str, Any]) -> "ModelConfig":
        """Raises GmotError for keys this version does not have."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise GmotError(
                f"model configuration: unknown keys {sorted(unknown)}; the checkpoint was made "
                "by another version of gmot. Check out the commit it names."
            )
        return cls(**values)


class CtcOutput(NamedTuple):
    """Attributes:
    log_probs: (N, T', C), float32.
    lens: (N,), frames of each utterance.
    acoustic: (N, T', D) FC2's output, the acoustic graph's nodes; None without adapter.
    tapped: the same of each block that was asked for.
    """

    log_probs: Tensor
    lens: Tensor
    acoustic: Optional[Tensor]
    tapped: Tuple[Tensor, ...] = ()


class CtcModel(nn.Module):
    """Conformer-CTC, with the adapter of knowledge transfer where the system has one.

    Teacher and transport are no part of it: this module is the whole of inference.

    Args:
      config: the shape.
      cmvn: (mean, std), each (num_features,), of the training features; None
        leaves the features as they are until a checkpoint is loaded.
    """

    def __init__(self, config: ModelConfig, cmvn: Optional[tuple] = None):
        super().__init__()
        self.config = config
        mean, std = cmvn or (torch.zeros(config.num_features), torch.ones(config.num_features))
        self.register_buffer("feature_mean", mean.float())
        self.register_buffer("feature_std", std.float())
        self.subsampling = Conv2dSubsampling(
            config.num_features, config.d_model, config.subsampling_channels
        )
        self.encoder = Conformer(
            config.d_model,
            config.num_heads,
            config.ffn_dim,
            config.num_layers,
            config.kernel_size,
            config.dropout,
            config.positions,
        )
        self.adapter = (
            None
            if config.teacher_dim is None
            else Adapter(config.d_model, config.teacher_dim, config.adapter_scale)
        )
        self.head = nn.Linear(config.d_model, config.vocab_size)

    def forward(self, features: Tensor, lens: Tensor, taps: Sequence[int] = ()) -> CtcOutput:
        """Log-probabilities of the CTC symbols.

        Args:
          features: (N, T, F) log-mel fbank, padded.
          lens: (N,) frames of each utterance, at least ``MIN_FRAMES``.
          taps: blocks of the Conformer, counted from 1, whose frames training wants in
            the teacher's space; inference asks for none.
        Raises:
          ValueError: a tap is no block, or the model has no adapter.
        """
        if taps and self.adapter is None:
            raise ValueError(f"taps: {tuple(taps)} of a model without adapter.")
        out_lens = output_length(lens)
        x = self.subsampling((features - self.feature_mean) / self.feature_std)
        x, blocks = self.encoder(x, padding_mask(out_lens, x.size(1)), taps)
        acoustic = None
        if self.adapter is not None:
            x, acoustic = self.adapter(x)
        last = self.config.num_layers
        tapped = tuple(
            acoustic if tap == last else self.adapter.nodes(block)
            for tap, block in zip(taps, blocks)
        )
        # float32 whatever the autocast: k2 and the CTC loss ask for it.
        log_probs = self.head(x).float().log_softmax(dim=-1)
        return CtcOutput(log_probs, out_lens, acoustic, tapped)
