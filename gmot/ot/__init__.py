"""Optimal transport on batches of masked problems. Imports torch only, knows nothing of speech."""

from gmot.ot.edges import CosineEdges, DenseEdges, Edges, TemporalEdges
from gmot.ot.fused_gromov import fused_gromov_wasserstein
from gmot.ot.result import TransportResult
from gmot.ot.sinkhorn import sinkhorn

__all__ = [
    "CosineEdges",
    "DenseEdges",
    "Edges",
    "TemporalEdges",
    "TransportResult",
    "fused_gromov_wasserstein",
    "sinkhorn",
]
