#!/usr/bin/env python3
"""Train one system (stage 8): a CTC recogniser, taught by a frozen language model or not.

Implementation: gmot/bin/train.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.train import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
