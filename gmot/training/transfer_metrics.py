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
    """Means over the utterances of a batch, read from the device at once; ``ctc`` is (N,)."""
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


def warn_unconverged(epoch: int, means: Mapping[str, float], config: TransferConfig) -> bool:
    """Warn about an epoch whose transport often did not converge; returns whether it did."""
    share = means.get(ABOVE_TOLERANCE, 0.0)
    if share <= MOST_ABOVE_TOLERANCE:
        return False
    logging.warning(
        "epoch %d: the transport of %.1f %% of the utterances ended with a marginal error above "
        "its tolerance of %g (mean %.1g; max_outer %d, max_inner %d): their plans have not "
        "converged. Increase transfer.max_inner or transfer.max_outer.",
        *(epoch, 100 * share, config.tolerance, means["marginal_error"]),
        *(config.max_outer, config.max_inner),
    )
    return True
