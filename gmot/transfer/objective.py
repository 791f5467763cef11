"""One interface to the losses of all systems, with or without parameters of their own."""

from typing import Any, Sequence, Tuple, Union

from torch import Tensor, nn

from gmot.transfer.cross_modal import CrossModalTransfer
from gmot.transfer.losses import TransferLoss, transport_loss
from gmot.transfer.systems import TransferSettings


class TransportTransfer(nn.Module):
    """:func:`transport_loss` of the last block's frames; it has no parameters."""

    def __init__(self, settings: TransferSettings):
        super().__init__()
        self.settings = settings

    def taps(self, num_layers: int) -> Tuple[int, ...]:
        """The block that is matched: the last."""
        return (num_layers,)

    def forward(
        self,
        blocks: Sequence[Tensor],
        lens: Any,
        z: Tensor,
        z_lens: Any,
        labels: Sequence[Sequence[int]],
    ) -> TransferLoss:
        """As :meth:`CrossModalTransfer.forward`; the labels are of no use here."""
        (h,) = blocks
        return transport_loss(h, z, lens, z_lens, self.settings)


def make_objective(
    settings: TransferSettings, vocab_size: int, d_teacher: int
) -> Union[TransportTransfer, CrossModalTransfer]:
    """The module that computes a system's transfer losses in training.

    Its ``taps(num_layers)`` are the blocks of the Conformer whose frames it is called with.

    Args:
      settings: of a system with transfer.
      vocab_size: symbols of the recogniser.
      d_teacher: width of the teacher's features.
    """
    if settings.objective == "cross_modal":
        return CrossModalTransfer(settings, vocab_size, d_teacher)
    return TransportTransfer(settings)
