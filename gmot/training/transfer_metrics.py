"""Logged quantities of the transfer: losses, and convergence of the transport."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from gmot.transfer.config import TransferConfig
from gmot.transfer.losses import TransferLoss

# Share of the utterances whose marginal error ended above the tolerance.
ABOVE_TOLERANCE = "above_tolerance"
MOST_ABOVE_TOLERANCE = 0.01  # a larger share in an epoch is worth a warning


def loss_parts(ctc: Tensor, transfer: TransferLoss, config: TransferConfig) -> dict[str, float]:
    """Means over the utterances of a batch, read from the device at once.

    Args:
      ctc: (N,) CTC losses.
      transfer: losses of the same utterances.
      config: of the transfer.
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
    if config.objective == "transport":  # HCM's number of iterations is part of its method
        parts[ABOVE_TOLERANCE] = result.marginal_error > config.tolerance
    means = torch.stack([part.detach().float().mean() for part in parts.values()])
    return dict(zip(parts, means.tolist()))


def describe_progress(means: Mapping[str, float]) -> str:
    """Postfix of the progress bar."""
    share = means.get(ABOVE_TOLERANCE, 0.0)
    return f"loss {means['loss']:.3g}" + (f", not converged {share:.1%}" if share else "")


class ConvergenceMonitor:
    """Warning, once per run, about an epoch whose transport often did not converge.

    Args:
      config: of the transfer.
    """

    def __init__(self, config: TransferConfig):
        self.config = config
        self._warned = False

    def check(self, epoch: int, means: Mapping[str, float]) -> None:
        """Check the means of an epoch."""
        share = means.get(ABOVE_TOLERANCE, 0.0)
        if self._warned or share <= MOST_ABOVE_TOLERANCE:
            return
        self._warned = True
        c = self.config
        logging.warning(
            "epoch %d: the transport of %.1f %% of the utterances ended with a marginal error "
            "above its tolerance of %g (mean %.1g; max_outer %d, max_inner %d): their plans have "
            "not converged. Increase transfer.max_inner or transfer.max_outer.",
            *(epoch, 100 * share, c.tolerance, means["marginal_error"]),
            *(c.max_outer, c.max_inner),
        )
