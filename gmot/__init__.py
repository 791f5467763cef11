"""gmot: linguistic knowledge transfer to CTC recognisers by optimal transport.

Nothing is imported here, so that ``import gmot.ot`` needs torch alone.
"""

__version__ = "0.1.0"
