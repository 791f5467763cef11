#!/usr/bin/env python3
"""Compute and store log-Mel filter banks with lhotse's extractor."""

import sys
from pathlib import Path

if __name__ == "__main__":  # not in the processes that it starts
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gmot.bin import run_command

    run_command("compute_fbank")
