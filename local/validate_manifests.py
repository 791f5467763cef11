#!/usr/bin/env python3
"""Check cuts and features of each part and print what they consist of.

Implementation: gmot/bin/validate_manifests.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.validate_manifests import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
