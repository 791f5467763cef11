"""Decode splits with a trained model and score them.

Epochs count from 1; --epoch 30 --avg 5 decodes with the mean of epochs 26 to 30. All methods
share one encoder pass. Writes recogs, errs and summary files to EXP/METHOD/ and one record per
result, with everything it depends on, to EXP/results.json.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, NonNegativeInt, PositiveFloat


def get_parser() -> ArgumentParser:
    from gmot.decode.config import DecodingConfig
    from gmot.text.scoring_units import SCORING

    model = ("--exp-dir", "--epoch", "--avg", "--average")
    data = ("--lang-dir", "--prefix", "--fbank-dir")
    machine = ("--device", "--num-threads")
    parser = make_parser(__doc__, *model, *data, *machine, with_config=True)
    parser.add_argument("--splits", nargs="+", default=["dev", "test"], help="splits to decode")
    parser.add_argument(
        "--split-prefix",
        default="",
        help="before the splits' names in results and files, such as mini- for the test set of "
        "another corpus than that of the training",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE.pt",
        help="weights, such as an average.pt, instead of epochs of --exp-dir, which then only gets "
        "the results",
    )
    parser.add_argument("--graph-dir", help="folder of H.pt, HLG.pt and G.pt")
    parser.add_argument("--teacher", help="masked LM of plm-rescoring: folder or hub name")
    parser.add_argument(
        "--max-duration", type=PositiveFloat, default=100.0, help="seconds of speech per batch"
    )
    parser.add_argument("--num-workers", type=NonNegativeInt, default=0, help="data loaders")
    add_options(parser, "--unit", help="resampled for logged intervals; results.json has both")
    parser.add_argument(
        "--scoring",
        nargs="+",
        choices=list(SCORING),
        default=["characters"],
        help="error rates: characters (CER), words (WER), mixed (MER: Chinese and Japanese "
        "characters, words of the rest); the first one selects scales and the oracle",
    )
    parser.add_argument(
        "--groups",
        metavar="FILE",
        help="'speaker-or-utterance group' lines; groups of utterances are also scored apart",
    )
    parser.add_argument(
        "--homophones", action="store_true", help="count Mandarin homophone substitutions"
    )
    parser.add_class_arguments(DecodingConfig, "decoding")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.evaluation.decoding import decode

    decode(args)
