#!/usr/bin/env python3
"""Make a recipe for a corpus of your own (docs/corpora.md)."""

import sys
from pathlib import Path

if __name__ == "__main__":  # not in the processes that it starts
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gmot.bin import run_command

    run_command("new_corpus")
