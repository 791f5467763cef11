"""Print the tables of measured results and write RESULTS.md from results.json files.

One table per error rate scored (CER, WER, MER), and per group of utterances. One row per decoding
method and experiment, one column per split: rate in per cent with its 95 % bootstrap interval by
utterance or speaker. Below the tables: the conditions of the intervals, and
commands, commit, seed and versions of each experiment. Of several epochs (and averages) the one
decoded last is shown, unless --epoch and --avg select another; none is selected by its result.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--unit")
    add_options(parser, "--exp-dir", help="folder of the experiments")
    parser.add_argument("--experiments", nargs="+", required=True, help="rows of the table")
    add_options(
        parser, "--epoch", "--avg", default=None, help="of the results; default: decoded last"
    )
    parser.add_argument("--output", required=True, metavar="RESULTS.md", help="file to write")
    parser.add_argument("--title", default="Results", help="title of the file")
    parser.add_argument("--published", metavar="FILE.yaml", help="results of papers to quote")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.evaluation.report import summarize

    print(summarize(**vars(args)))
