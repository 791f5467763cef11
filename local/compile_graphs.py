#!/usr/bin/env python3
"""Compile the decoding graphs H (CTC topology), HLG and G.

Implementation: gmot/bin/compile_graphs.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.compile_graphs import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
