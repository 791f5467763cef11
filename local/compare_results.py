#!/usr/bin/env python3
"""Say whether one run is better than another, by paired bootstrap over utterances.

Takes recogs-*.txt files, or --exp-dirs whose recogs files it finds. Prints a line for
each run: its CER and, beside the first run, the difference of CER with a 95 %
interval and the probability of improvement (Bisani and Ney, ICASSP 2004).
--output writes a Markdown table too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "recogs", nargs="*", metavar="RECOGS.txt", help="two or more, of the same part"
    )
    group = parser.add_argument_group("instead of files")
    group.add_argument("--exp-dirs", nargs="+", help="folders of systems that were decoded")
    group.add_argument("--part", default="test", help="that was decoded")
    group.add_argument("--method", default="1best", help="it was decoded by")
    group.add_argument("--epoch", type=int, help="results of this epoch, not the last decoded")
    group.add_argument("--avg", type=int, help="results of this --avg, not the last decoded")
    parser.add_argument("--replications", type=int, default=10000, help="resamplings")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")
    parser.add_argument("--output", metavar="FILE.md", help="to write")
    return parser


def main() -> None:
    parser = get_parser()
    args = parser.parse_args()
    if bool(args.recogs) == bool(args.exp_dirs):
        parser.error("expected either recogs files or --exp-dirs")
    from gmot.comparison import compare, console_lines, find_recogs, read_runs, write_table

    if args.exp_dirs:
        paths = find_recogs(args.exp_dirs, args.part, args.method, args.epoch, args.avg)
    else:
        paths = [Path(path) for path in args.recogs]
    comparisons = compare(read_runs(paths), args.replications, args.seed)
    print("\n".join(console_lines(comparisons)))
    if args.output:
        files = "\n".join(f"- `{path}`" for path in paths)
        how = f"{args.replications} resamplings, seed {args.seed}, of:\n\n{files}"
        write_table(args.output, comparisons, how)


if __name__ == "__main__":
    run(main)
