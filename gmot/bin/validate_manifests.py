"""Check the cuts and features of each split and print their statistics.

Checks sampling rate, number of bins, supervisions, text, feature files and normalisation
statistics, and with --expect the size of the corpus.
"""

from gmot.bin._options import make_parser
from gmot.cli import ArgumentParser


def get_parser() -> ArgumentParser:
    expected = ("--sampling-rate", "--num-mel-bins", "--pitch")
    parser = make_parser(__doc__, "--prefix", "--splits", "--fbank-dir", *expected)
    parser.add_argument(
        "--expect",
        nargs="*",
        default=[],
        metavar="SPLIT=UTTERANCES[:SPEAKERS[:CHARACTERS]]",
        help="published size of a split without speed copies; differences are reported",
    )
    parser.add_argument(
        "--strict", type=bool, default=False, help="stop where a size differs from --expect"
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError
    from gmot.data.features import load_cmvn
    from gmot.data.validate import compare_size, expected_features, validate_cuts

    expected = dict(text.partition("=")[::2] for text in args.expect)
    unknown = expected.keys() - set(args.splits)
    if unknown:
        raise GmotError(
            f"--expect {min(unknown)}: not among --splits {' '.join(args.splits)}; "
            "expected SPLIT=UTTERANCES[:SPEAKERS[:CHARACTERS]]."
        )
    for split in args.splits:
        options = (split, args.sampling_rate, args.num_mel_bins, args.pitch)
        statistics = validate_cuts(args.fbank_dir, args.prefix, *options)
        logging.info("%s: %s", split, statistics)
        if split in expected:
            compare_size(split, statistics, expected[split], args.strict)
    mean, std = load_cmvn(args.fbank_dir, args.prefix)
    width = expected_features(args.num_mel_bins, args.pitch)
    if len(mean) != width:
        raise GmotError(
            f"{args.fbank_dir}: statistics of {len(mean)} bins, expected {width}. "
            "Run the fbank stage again."
        )
    logging.info(
        "features: mean %.2f to %.2f, standard deviation %.2f to %.2f",
        *(mean.min(), mean.max(), std.min(), std.max()),
    )
