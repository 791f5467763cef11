#!/usr/bin/env python3
"""Compare systems by paired bootstrap, by utterance or speaker, with one or several seeds.

Takes recogs-*.txt files, or --exp-dirs whose recogs files it finds. Without --against each
of them is a system, and all are compared with the first one. With --against those before it are
runs of one configuration with different training seeds, pooled, and compared with those after it;
--against may be repeated for further configurations:

    compare_results.py --exp-dirs A1 A2 A3 --against B1 B2 B3 --unit speaker

Prints CER, the difference from the first system with its interval, the probability of
improvement (Bisani and Ney, ICASSP 2004) and p-values, corrected for the number of
comparisons (Holm), and what the intervals are conditional on. --output writes a Markdown table too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    from gmot.bootstrap import UNITS

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("recogs", nargs="*", metavar="RECOGS.txt", help="of the same part")
    parser.add_argument(
        "--against",
        nargs="+",
        action="append",
        metavar="RUN",
        help="recogs files, or folders with --exp-dirs: training seeds of another configuration",
    )
    parser.add_argument(
        "--unit",
        choices=UNITS,
        default="utterance",
        help="resampled; speaker: with all utterances of the speaker",
    )
    group = parser.add_argument_group("instead of files")
    group.add_argument("--exp-dirs", nargs="+", help="folders of systems that were decoded")
    group.add_argument("--part", default="test", help="that was decoded")
    group.add_argument("--method", default="1best", help="it was decoded by")
    group.add_argument(
        "--epoch", type=number(int, 1), help="results of this epoch, not the last decoded"
    )
    group.add_argument(
        "--avg", type=number(int, 1), help="results of this --avg, not the last decoded"
    )
    parser.add_argument("--replications", type=number(int, 1), default=10000, help="resamplings")
    parser.add_argument(
        "--seed", type=number(int, 0, 2**32 - 1), default=0, help="of the resampling"
    )
    parser.add_argument("--output", metavar="FILE.md", help="to write")
    return parser


def main() -> None:
    parser = get_parser()
    args = parser.parse_args()
    if bool(args.recogs) == bool(args.exp_dirs):
        parser.error("expected either recogs files or --exp-dirs")
    if args.seed < 0:
        parser.error(f"--seed {args.seed}: expected 0 or more")
    from gmot.comparison import compare, find_recogs, read_systems
    from gmot.comparison_report import console_lines, write_table

    first = args.recogs or args.exp_dirs
    systems = [first, *args.against] if args.against else [[one] for one in first]
    if args.exp_dirs:
        of = (args.part, args.method, args.epoch, args.avg)
        systems = [find_recogs(folders, *of) for folders in systems]
    comparison = compare(read_systems(systems), args.unit, args.replications, args.seed)
    print("\n".join(console_lines(comparison)))
    if args.output:
        files = "\n".join(f"- {' '.join(f'`{path}`' for path in paths)}" for paths in systems)
        how = f"{args.replications} resamplings, seed {args.seed}, of:\n\n{files}"
        write_table(args.output, comparison, how)


if __name__ == "__main__":
    run(main)
