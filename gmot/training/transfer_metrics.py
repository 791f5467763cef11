"""Logged quantities of the transfer: losses, and convergence of the transport."""

import logging
from collections.abc import Mapping

from torch import Tensor

from gmot.transfer.config import TransferConfig
from gmot.transfer.losses import TransferLoss

# Share of the utterances whose marginal error ended above the tolerance.
ABOVE_TOLERANCE = "above_tolerance"
MOST_ABOVE_TOLERANCE = 0.01  # a larger share in an epoch is worth a warning


def transfer_names(config: TransferConfig) -> list[str]:
    """Keys of :func:`transfer_parts`."""
    names = ["alignment", "transport", "node", "edge", "marginal_error", "iterations"]
    # HCM's number of iterations is part of its method.
    return [*names, ABOVE_TOLERANCE] if config.objective == "transport" else names


def transfer_parts(transfer: TransferLoss, config: TransferConfig) -> dict[str, Tensor]:
    """Quantities per utterance, (N,) each, detached and on their device."""
    result = transfer.result
    above = result.marginal_error > config.tolerance
    values = (transfer.alignment, transfer.transport, result.node, result.edge)
    values += (result.marginal_error, result.iterations, above)
    return {name: value.detach() for name, value in zip(transfer_names(config), values)}


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
