"""Compare experiments by paired bootstrap, by utterance or speaker, with one or several seeds.

Takes recogs-*.txt files, or --exp-dirs to find them. Without --against each of them is compared
with the first one. With --against, those before it are runs of one configuration with different
training seeds, pooled and compared with those after it; --against may be repeated:

    compare_results.py --exp-dirs A1 A2 A3 --against B1 B2 B3 --unit speaker

Prints the error rate, difference from the first experiment with its interval, probability of
improvement (Bisani and Ney, ICASSP 2004), p-values corrected for the number of comparisons (Holm),
and the conditions of the intervals: for each error rate, of all utterances and of each group that
the recogs files name (decode.py --groups). --output also writes Markdown tables.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, PositiveInt, number


def get_parser() -> ArgumentParser:
    from gmot.text.scoring_units import SCORING

    parser = make_parser(__doc__, "--unit")
    parser.add_argument("recogs", nargs="*", metavar="RECOGS.txt", help="files of one split")
    parser.add_argument(
        "--against",
        nargs="+",
        action="append",
        metavar="RUN",
        help="recogs files, or folders with --exp-dirs: training seeds of another configuration",
    )
    parser.add_argument(
        "--scoring",
        nargs="+",
        choices=list(SCORING),
        help="error rates; default: characters, with --exp-dirs those that were scored",
    )
    group = parser.add_argument_group("instead of files")
    group.add_argument("--exp-dirs", nargs="+", help="experiment folders")
    group.add_argument("--split", default="test", help="decoded split")
    group.add_argument("--method", default="1best", help="decoding method")
    add_options(group, "--epoch", "--avg", default=None, help="default: decoded last")
    parser.add_argument("--replications", type=PositiveInt, default=10000, help="resamplings")
    parser.add_argument(
        "--seed", type=number(int, 0, 2**32 - 1), default=0, help="random seed of the bootstrap"
    )
    parser.add_argument("--output", metavar="FILE.md", help="file for the Markdown table")
    parser.add_argument(
        "--homophones", action="store_true", help="Mandarin homophones in the tables of --output"
    )
    return parser


def main() -> None:
    parser = get_parser()
    args = parser.parse_args()
    if bool(args.recogs) == bool(args.exp_dirs):
        parser.error("expected either recogs files or --exp-dirs")
    from gmot.evaluation.comparison import compare_all
    from gmot.evaluation.comparison_report import console_lines, write_tables
    from gmot.evaluation.homophones import require_characters
    from gmot.evaluation.runs import find_recogs, read_experiments, scored_metrics
    from gmot.text.scoring_units import SCORING

    first = args.recogs or args.exp_dirs
    experiments = [first, *args.against] if args.against else [[one] for one in first]
    metrics = [SCORING[name] for name in dict.fromkeys(args.scoring or ["characters"])]
    if args.exp_dirs:
        selection = (args.split, args.method, args.epoch, args.avg)
        if not args.scoring:
            folders = [folder for folders in experiments for folder in folders]
            metrics = scored_metrics(folders, *selection)
        experiments = [find_recogs(folders, *selection) for folders in experiments]
    if args.homophones:
        require_characters(metrics)
    options = (args.unit, args.replications, args.seed)
    comparisons = compare_all(read_experiments(experiments), metrics, *options)
    print("\n".join(line for found in comparisons for line in console_lines(found)))
    if args.output:
        files = "\n".join(f"- {' '.join(f'`{path}`' for path in paths)}" for paths in experiments)
        how = f"{args.replications} resamplings, seed {args.seed}, of:\n\n{files}"
        write_tables(args.output, comparisons, how, args.homophones)
