"""Linguistic knowledge transfer: the papers' objectives."""

from gmot.transfer.losses import TransferLoss, combine, transport_loss
from gmot.transfer.systems import SYSTEMS, TransferSettings, get_system

__all__ = [
    "SYSTEMS",
    "TransferLoss",
    "TransferSettings",
    "combine",
    "get_system",
    "transport_loss",
]
