#!/usr/bin/env python3
"""Estimate an n-gram language model over the words of a lang folder; write it as ARPA.

Implementation: gmot/bin/make_ngram.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.bin.make_ngram import main  # noqa: E402
from gmot.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
