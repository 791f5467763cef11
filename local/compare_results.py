#!/usr/bin/env python3
"""Compare systems by paired bootstrap, by utterance or speaker, with one or several seeds.

Implementation: gmot/bin/compare_results.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.compare_results import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
