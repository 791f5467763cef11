"""Lazy import of k2, an optional dependency. Uses only calls shared by k2 1.23.4 and 1.24.4."""

import importlib.util
from typing import Any

from gmot.common import GmotError


def k2_available() -> bool:
    """Whether k2 is installed."""
    return importlib.util.find_spec("k2") is not None


def import_k2() -> Any:
    """The k2 module.

    Raises:
      GmotError: k2 cannot be imported.
    """
    try:
        import k2
    except ImportError as error:
        raise GmotError(
            f"k2 cannot be imported ({error}). Install it (requirements/k2.txt), or decode with "
            "ctc-greedy-search or ctc-prefix-beam-search, which do not need it."
        ) from None
    return k2
