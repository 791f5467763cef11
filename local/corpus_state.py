#!/usr/bin/env python3
"""Print a digest of the sizes and times of a corpus's files, in one line.

The stages that read audio compare it with that of their last run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="+", metavar="PATH", help="folders and wav.scp files")
    parser.add_argument("--without", nargs="+", default=[], help="folders that do not count")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.data.corpus_state import corpus_state

    print(corpus_state(args.places, args.without))


if __name__ == "__main__":
    run(main)
