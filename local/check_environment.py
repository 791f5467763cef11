#!/usr/bin/env python3
"""Check the Python environment: versions of torch, k2 and the recipes' packages.

Implementation: gmot/bin/check_environment.py. Starts without any package.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.check_environment import main  # noqa: E402

if __name__ == "__main__":
    main()
