#!/usr/bin/env python3
"""Decode parts with a trained system and score them (stage 9).

Implementation: gmot/bin/decode.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.decode import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
