"""The door to k2, which is optional: the only module that imports it.

The calls that are made are those that k2 1.23.4 and 1.24.4 share.
"""

import importlib.util
from typing import Any

from gmot.common import GmotError


def k2_available() -> bool:
    """Whether k2 is installed."""
    return importlib.util.find_spec("k2") is not None


def import_k2() -> Any:
    """The module k2.

    Raises:
      GmotError: it cannot be imported.
    """
    try:
        import k2
    except ImportError as error:
        raise GmotError(
            f"k2 cannot be imported ({error}). Install it (requirements/k2.txt), or decode with "
            "ctc-greedy-search, which does not need it."
        ) from None
    return k2
