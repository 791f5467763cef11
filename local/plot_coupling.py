#!/usr/bin/env python3
"""Draw the couplings of a trained system: which frames its transport ties to which tokens.

Implementation: gmot/bin/plot_coupling.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.plot_coupling import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
