"""Configuration of the acoustic model."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from gmot.config import check, check_choices, check_range

# Set from lang folder, features, teacher and transfer, not by options.
DERIVED = {"vocab_size", "num_features", "teacher_dim", "adapter_scale"}


@dataclass(frozen=True)
class ModelConfig:
    """Size of the Conformer-CTC. Defaults: the papers' size."""

    vocab_size: int = 0
    """Outputs of the CTC head, blank included."""
    num_features: int = 80
    """Columns of the features."""
    d_model: int = 256
    """Width of the encoder."""
    num_heads: int = 4
    """Heads of the self-attention."""
    ffn_dim: int = 2048
    """Width of the feed-forward modules."""
    num_layers: int = 16
    """Conformer blocks."""
    kernel_size: int = 15
    """Kernel of the convolution module, odd."""
    subsampling_channels: int = 256
    """Channels of the two subsampling convolutions."""
    dropout: float = 0.1
    """Dropout in the encoder (ours; the papers do not say)."""
    positions: Literal["relative", "absolute"] = "relative"
    """relative: in the attention (ours); absolute: added to the encoder's input (the papers':
    CMA-OT Eq. 1, TOT Eq. 1)."""
    teacher_dim: int | None = None
    """Width of the teacher's features; null: no adapter."""
    adapter_scale: float = 0.1
    """w_s of GM-OT Eq. 17, weight of the adapter's residual connection."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 1, inf, "num_heads", "ffn_dim", "num_layers", "subsampling_channels")
        width = self.d_model
        multiple = width >= 2 and width % 2 == 0 and width % self.num_heads == 0
        check(self, multiple, "d_model", f"an even multiple of num_heads ({self.num_heads})")
        check(self, self.kernel_size % 2 == 1, "kernel_size", "an odd number")
        check(self, 0 <= self.dropout < 1, "dropout", "a number from 0 to below 1")
        check(self, self.num_features >= 7, "num_features", "7 or more (two convolutions)")
