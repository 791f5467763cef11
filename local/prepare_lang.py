#!/usr/bin/env python3
"""Make the lang folder out of the training transcripts alone.

Implementation: gmot/bin/prepare_lang.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.prepare_lang import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
