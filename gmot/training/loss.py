"""Losses of a batch: CTC and, with transfer, those of the objective."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmot.data.datamodule import Batch
from gmot.model.ctc_model import CtcModel
from gmot.model.subsampling import length_mask, output_length
from gmot.text.tokens import BLANK_ID
from gmot.training.transfer_metrics import transfer_names, transfer_parts
from gmot.transfer.config import TransferConfig
from gmot.transfer.losses import TransferLoss, combine
from gmot.transfer.objective import make_objective

# CTC losses are not negative, but for rounding: a smaller one is a fault.
LEAST_CTC = -1e-3


@dataclass
class Losses:
    """Losses of the N utterances of a batch."""

    total: Tensor  # (N,), to minimise; NaN where the CTC loss is negative
    parts: dict[str, Tensor]  # (N,) each, detached
    lengths: Tensor  # (N,), output frames, on the CPU
    log_probs: Tensor  # (N, T', C)
    transfer: TransferLoss | None


class LossModule(nn.Module):
    """Model and objective in one module, which DistributedDataParallel wraps.

    ``objective`` holds the modules of the transfer that inference does without (None: CTC alone).
    """

    def __init__(self, model: CtcModel, config: TransferConfig, precision: torch.dtype | None):
        super().__init__()
        self.model, self.config, self.precision = model, config, precision
        self.objective: nn.Module | None = None
        shape = model.config
        if config.learns_from_teacher:
            assert shape.teacher_dim is not None
            self.objective = make_objective(config, shape.vocab_size, shape.teacher_dim)

    @property
    def part_names(self) -> list[str]:
        """Keys of :attr:`Losses.parts`."""
        transfer = transfer_names(self.config) if self.objective is not None else []
        return ["loss", "ctc", "blank_share", *transfer]

    @property
    def device(self) -> torch.device:
        return self.model.head.weight.device

    def forward(self, batch: Batch | None) -> Losses | Tensor:
        """Losses of a batch; of None, a zero that depends on all parameters.

        The zero's backward pass lets DistributedDataParallel reduce gradients that were
        accumulated before, so that processes may have different numbers of batches.
        """
        if batch is None:
            return 0 * torch.stack([p.float().sum() for p in self.parameters()]).sum()
        return self.losses(batch)

    def losses(self, batch: Batch, with_transfer: bool = True) -> Losses:
        """Losses per utterance: lambda CTC + (1 - lambda) transfer (Eq. 18)."""
        assert batch.labels is not None and batch.label_lengths is not None
        here = batch.to(self.device)
        transferring = self.objective is not None and with_transfer
        layers = self.objective.layers(self.model.config.num_layers) if transferring else ()
        with torch.autocast(
            self.device.type, self.precision or torch.bfloat16, enabled=self.precision is not None
        ):
            output = self.model(here.features, here.lengths, layers=layers)
        # Lengths on the CPU: ctc_loss would wait for those of a GPU.
        lengths = output_length(batch.lengths)
        x = output.log_probs.transpose(0, 1)
        ctc = F.ctc_loss(
            x, here.labels, lengths, batch.label_lengths, blank=BLANK_ID, reduction="none"
        )
        total, transfer = ctc, None
        parts = {"ctc": ctc.detach(), "blank_share": _blank_share(output.log_probs, output.lengths)}
        if transferring:
            transfer = self.objective(
                output.intermediate,
                output.lengths,
                here.teacher.float(),
                here.teacher_lengths,
                here.labels,
                here.label_lengths,
                validate=False,  # the guard looks at the losses
            )
            total = combine(ctc, transfer, self.config)
            parts.update(transfer_parts(transfer, self.config))
        # A factor, so that the gradient is NaN too.
        total = total * torch.where(ctc < LEAST_CTC, float("nan"), 1.0)
        parts = {"loss": total.detach(), **parts}
        return Losses(total, parts, lengths, output.log_probs, transfer)


def _blank_share(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """(N,) share of the frames (N, T', C) whose most probable symbol is the blank."""
    blank = (log_probs.detach().argmax(2) == BLANK_ID) & length_mask(lengths, log_probs.size(1))
    return blank.sum(1) / lengths.clamp_min(1)
