#!/usr/bin/env python3
"""Tell what was measured: a table on the console, and RESULTS.md out of results.json files.

A row a decoding method and system, a column a part: CER in per cent with its
95 % bootstrap interval by utterance or speaker; what it is conditional on stands below the
table, with the commands, commit, seed and versions of each
system. Of several epochs (and averages of them) the one that was decoded last is
shown, unless --epoch and --avg choose another; none is chosen by its result.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    from gmot.bootstrap import UNITS

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="has a folder a system")
    parser.add_argument("--systems", nargs="+", required=True, help="rows, in this order")
    parser.add_argument("--epoch", type=number(int, 1), help="show results of this epoch")
    parser.add_argument("--avg", type=number(int, 1), help="show results of this --avg")
    parser.add_argument("--output", required=True, metavar="RESULTS.md", help="to write")
    parser.add_argument("--title", default="Results", help="its heading")
    parser.add_argument(
        "--published",
        metavar="FILE.yaml",
        help="what papers report, to be quoted",
    )
    parser.add_argument(
        "--unit",
        choices=UNITS,
        default="utterance",
        help="resampled for the intervals; speaker: with all utterances of the speaker",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.results import summarize

    print(
        summarize(
            *(args.exp_dir, args.systems, args.epoch, args.avg, args.output, args.title),
            published=args.published,
            unit=args.unit,
        )
    )


if __name__ == "__main__":
    run(main)
