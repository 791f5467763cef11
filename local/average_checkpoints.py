#!/usr/bin/env python3
"""Write the mean of a training's last epochs as one checkpoint.

Implementation: gmot/bin/average_checkpoints.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.average_checkpoints import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
