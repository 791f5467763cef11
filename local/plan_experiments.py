#!/usr/bin/env python3
"""Check the options of a recipe's experiments and name their folders (shared/run.sh).

Implementation: gmot/bin/plan_experiments.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.plan_experiments import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
