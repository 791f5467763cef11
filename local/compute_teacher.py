#!/usr/bin/env python3
"""Compute the teacher's features of the training transcripts, once.

Implementation: gmot/bin/compute_teacher.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.compute_teacher import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
