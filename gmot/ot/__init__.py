"""Optimal transport on padded batches: Sinkhorn and fused Gromov-Wasserstein. Needs torch alone."""

from gmot.ot.api import fused_gromov_wasserstein, sinkhorn
from gmot.ot.edges import CosineEdges, DenseEdges, Edges, TemporalEdges
from gmot.ot.result import TransportResult

__all__ = [
    "CosineEdges",
    "DenseEdges",
    "Edges",
    "TemporalEdges",
    "TransportResult",
    "fused_gromov_wasserstein",
    "sinkhorn",
]
