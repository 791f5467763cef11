"""Check the cuts and features of each split and print their statistics.

Checks sampling rate, number of bins, supervisions, text, feature files and normalisation
statistics, and with --expect the size of the corpus.
"""

from gmot.cli import ArgumentParser, PositiveInt, number


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True, help="corpus name, first part of file names")
    parser.add_argument("--splits", nargs="+", required=True, help="for example train dev test")
    parser.add_argument("--fbank-dir", required=True, help="folder of cuts and features")
    parser.add_argument("--sampling-rate", type=PositiveInt, default=16000, help="expected, in Hz")
    parser.add_argument("--num-mel-bins", type=number(int, 4), default=80, help="expected")
    parser.add_argument(
        "--pitch", type=bool, default=False, help="whether pitch features are expected"
    )
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
    options = (args.sampling_rate, args.num_mel_bins, args.pitch)
    for split in args.splits:
        statistics = validate_cuts(args.fbank_dir, args.prefix, split, *options)
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
