#!/usr/bin/env python3
"""Tell what was measured: a table on the console, and RESULTS.md out of results.json files.

Implementation: gmot/bin/summarize_results.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.summarize_results import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
