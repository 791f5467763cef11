#!/usr/bin/env python3
"""Make the manifests of a corpus: what audio there is and what is said in it.

Implementation: gmot/bin/prepare_manifests.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.prepare_manifests import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
