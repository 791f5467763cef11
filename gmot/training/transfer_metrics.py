"""What training logs of the transfer: losses, and how well the transport was solved."""

import logging
from typing import Dict, Mapping

import torch
from torch import Tensor

from gmot.transfer.losses import TransferLoss
from gmot.transfer.systems import TransferSettings

# Share of the utterances whose transport ended with a marginal error above the tolerance.
ABOVE_TOLERANCE = "above_tolerance"
MOST_ABOVE_TOLERANCE = 0.01  # a larger share in an epoch is worth a warning


def loss_parts(ctc: Tensor, transfer: TransferLoss, settings: TransferSettings) -> Dict[str, float]:
    """Means over the utterances of a batch, read from the device at once.

    Args:
      ctc: (N,) CTC losses.
      transfer: of the same utterances.
      settings: of the system.
    """
    result = transfer.result
    parts = {
        "ctc": ctc,
        "alignment": transfer.alignment,
        "transport": transfer.transport,
        "node": result.node,
        "edge": result.edge,
        "marginal_error": result.marginal_error,
    }
    if settings.objective == "transport":  # the number of HCM's iterations is part of its method
        parts[ABOVE_TOLERANCE] = result.marginal_error > settings.tolerance
    means = torch.stack([part.detach().float().mean() for part in parts.values()])
    return dict(zip(parts, means.tolist()))


def describe_progress(means: Mapping[str, float]) -> str:
    """Of an epoch so far, for the progress bar."""
    share = means.get(ABOVE_TOLERANCE, 0.0)
    return f"loss {means['loss']:.3g}" + (f", not converged {share:.1%}" if share else "")


class ConvergenceMonitor:
    """A warning, once per run, of an epoch whose transport often did not converge.

    Args:
      settings: of the system.
    """

    def __init__(self, settings: TransferSettings):
        self.settings = settings
        self._warned = False

    def check(self, epoch: int, means: Mapping[str, float]) -> None:
        """Look at the means of an epoch."""
        share = means.get(ABOVE_TOLERANCE, 0.0)
        if self._warned or share <= MOST_ABOVE_TOLERANCE:
            return
        self._warned = True
        s = self.settings
        logging.warning(
            "epoch %d: the transport of %.1f %% of the utterances ended with a marginal error "
            "above its tolerance of %g (on average %.1g; max_outer %d, max_inner %d): these plans "
            "have not converged. Give system '%s' more iterations in gmot/transfer/systems.py.",
            *(epoch, 100 * share, s.tolerance, means["marginal_error"]),
            *(s.max_outer, s.max_inner, s.name),
        )
