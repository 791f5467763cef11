#!/usr/bin/env python3
"""Compute log-Mel filter banks of the manifests, once, with lhotse's extractor.

Implementation: gmot/bin/compute_fbank.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.compute_fbank import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
