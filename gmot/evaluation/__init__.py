"""Scoring, result files, reports and comparisons."""

from gmot.common import require_extra

require_extra("recipe", "kaldialign", "numpy")
