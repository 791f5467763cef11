"""Decode splits with a trained model and score them.

Epochs count from 1; --epoch 30 --avg 5 decodes with the mean of epochs 26 to 30. All methods
share one encoder pass. Writes recogs, errs and cer-summary files to EXP/METHOD/ and one record
per result, with everything it depends on, to EXP/results.json.
"""

from gmot.cli import ArgumentParser, NonNegativeInt, PositiveFloat, PositiveInt


def get_parser() -> ArgumentParser:
    from gmot.decode.config import DecodingConfig

    parser = ArgumentParser(description=__doc__, with_config=True)
    parser.add_argument("--exp-dir", required=True, help="experiment folder")
    parser.add_argument("--epoch", type=PositiveInt, help="last epoch; default: the last one")
    parser.add_argument(
        "--avg", type=PositiveInt, default=1, help="epochs to average, --epoch included"
    )
    parser.add_argument("--prefix", required=True, help="corpus name, prefix of the cuts files")
    parser.add_argument("--fbank-dir", required=True, help="folder of cuts and features")
    parser.add_argument("--splits", nargs="+", default=["dev", "test"], help="splits to decode")
    parser.add_argument("--lang-dir", required=True, help="lang folder of the training")
    parser.add_argument("--graph-dir", help="folder of H.pt, HLG.pt and G.pt")
    parser.add_argument("--teacher", help="masked LM of plm-rescoring: folder or hub name")
    parser.add_argument(
        "--max-duration",
        type=PositiveFloat,
        default=100.0,
        help="seconds of speech per batch",
    )
    parser.add_argument("--num-workers", type=NonNegativeInt, default=0, help="data loaders")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto")
    parser.add_argument(
        "--num-threads", type=NonNegativeInt, default=0, help="threads of torch; 0: all cores"
    )
    parser.add_argument(
        "--unit",
        choices=("utterance", "speaker"),
        default="utterance",
        help="unit of resampling of the logged intervals; results.json has both",
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
