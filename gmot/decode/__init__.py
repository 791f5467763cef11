"""Decoding of CTC outputs: greedy, prefix beam, k2 lattices and rescoring."""

from gmot.common import require_extra

require_extra("recipe", "kaldialign", "numpy", "tqdm")
