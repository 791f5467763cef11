"""Write the report of an experiment as one self-contained HTML page.

Curves, couplings through the epochs, error rates with intervals, the utterances with the most
errors with alignments and audio, configuration and provenance. Parts that an experiment does not
have (yet) are left out.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, NonNegativeFloat, NonNegativeInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--exp-dir", "--unit")
    parser.add_argument("--output", metavar="FILE.html", help="default: EXP_DIR/report.html")
    parser.add_argument("--split", help="of the worst utterances; default: dev, else the first")
    parser.add_argument("--method", help="of the worst utterances; default: the simplest")
    parser.add_argument("--worst", type=NonNegativeInt, default=20, help="number of utterances")
    for name in ("--fbank-dir", "--prefix"):
        add_options(parser, name, required=False, help="for audio; default: that of the training")
    megabytes = {"type": NonNegativeFloat}
    parser.add_argument("--audio-limit", default=0.5, help="MB of one recording", **megabytes)
    parser.add_argument("--audio-total", default=5.0, help="MB of all recordings", **megabytes)
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.analysis.report_html import make_report

    make_report(args)
