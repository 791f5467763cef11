#!/usr/bin/env python3
"""Compare couplings of trained models with measured word times."""

import sys
from pathlib import Path

if __name__ == "__main__":  # not in the processes that it starts
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gmot.bin import run_command

    run_command("coupling_truth")
