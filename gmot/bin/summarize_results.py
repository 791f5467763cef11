"""Print the table of measured results and write RESULTS.md from results.json files.

One row per decoding method and experiment, one column per split: CER in per cent with its 95 %
bootstrap interval by utterance or speaker. Below the table: the conditions of the intervals, and
commands, commit, seed and versions of each experiment. Of several epochs (and averages) the one
decoded last is shown, unless --epoch and --avg select another; none is selected by its result.
"""

from gmot.cli import ArgumentParser, PositiveInt


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="folder of the experiments")
    parser.add_argument("--experiments", nargs="+", required=True, help="rows of the table")
    parser.add_argument("--epoch", type=PositiveInt, help="epoch of the results")
    parser.add_argument("--avg", type=PositiveInt, help="--avg of the results")
    parser.add_argument("--output", required=True, metavar="RESULTS.md", help="file to write")
    parser.add_argument("--title", default="Results", help="title of the file")
    parser.add_argument("--published", metavar="FILE.yaml", help="results of papers to quote")
    parser.add_argument(
        "--unit",
        choices=("utterance", "speaker"),
        default="utterance",
        help="unit of resampling of the intervals",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.evaluation.report import summarize

    print(summarize(**vars(args)))
