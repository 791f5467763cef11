"""Compare couplings of trained models with measured word times.

For each experiment and epoch: the share of the plan's mass inside the right word's span and the
error of the word boundaries, beside those of a CTC alignment by the same model and of plans that
ignore the audio. Word times are a CTM file ('utterance 1 start duration word', seconds from the
beginning of the utterance), of an aligner or of a corpus that has them. Writes OUTPUT.json (all
measures), OUTPUT.md (a table) and OUTPUT.png (against epochs).
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, PositiveFloat, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--exp-dirs", nargs="+", required=True, help="folders of the experiments")
    parser.add_argument(
        "--epochs", type=PositiveInt, nargs="+", help="default: all that have a checkpoint"
    )
    add_options(parser, "--fbank-dir", "--prefix", "--lang-dir")
    parser.add_argument("--split", default="test", help="split of the utterances")
    parser.add_argument("--ctm", required=True, metavar="FILE", help="word times of the split")
    add_options(
        parser, "--teacher", help="that of the trainings: folder or hub name", required=False
    )
    parser.add_argument(
        "--max-duration", type=PositiveFloat, default=100.0, help="seconds of speech per batch"
    )
    add_options(parser, "--num-threads")
    parser.add_argument("--output", required=True, help="path of the results, without suffix")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.analysis.coupling_truth import coupling_truth
    from gmot.analysis.plots import draw_curves
    from gmot.analysis.truth_report import truth_panels, truth_table
    from gmot.common import atomic_path, write_json, write_lines
    from gmot.provenance import choose_device, command, environment

    choose_device("cpu", args.num_threads)
    found = coupling_truth(args)
    write_json(f"{args.output}.json", {**found, "command": command(), "environment": environment()})
    table = truth_table(found)
    write_lines(f"{args.output}.md", [table.rstrip()])
    with atomic_path(f"{args.output}.png") as temporary:
        draw_curves(truth_panels(found), columns=2, axis="epoch").savefig(temporary, dpi=110)
    print(table)
    logging.info("%s.json, .md and .png: %d systems", args.output, len(found["systems"]))
