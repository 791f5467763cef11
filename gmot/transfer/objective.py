"""Transfer losses as modules with one interface."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gmot.transfer.config import TransferConfig
from gmot.transfer.cross_modal import CrossModalTransfer
from gmot.transfer.losses import TransferLoss, transport_loss


class TransportTransfer(nn.Module):
    """:func:`transport_loss` of the last block, without parameters."""

    def __init__(self, config: TransferConfig):
        super().__init__()
        self.config = config

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """Conformer blocks whose frames are matched, counted from 1: the last."""
        return (num_layers,)

    def forward(
        self,
        blocks: Sequence[Tensor],
        h_lengths: Any,
        z: Tensor,
        z_lengths: Any,
        labels: Tensor | None = None,
        label_lengths: Tensor | None = None,
        validate: bool = True,
    ) -> TransferLoss:
        """Arguments of :meth:`CrossModalTransfer.forward`; the labels are unused."""
        (h,) = blocks
        return transport_loss(h, z, h_lengths, z_lengths, self.config, validate)


def make_objective(
    config: TransferConfig, vocab_size: int, d_teacher: int
) -> TransportTransfer | CrossModalTransfer:
    """Module of the losses of a ``config`` that learns from a teacher of width ``d_teacher``."""
    if config.objective == "cross_modal":
        return CrossModalTransfer(config, vocab_size, d_teacher)
    return TransportTransfer(config)
