#!/usr/bin/env python3
"""Check cuts and features of each part and print what they consist of.

Sampling rate, number of bins, one supervision per utterance and within it,
text, feature files, and the statistics of the training part's features.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run, str2bool  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True, help="first part of the file names")
    parser.add_argument("--parts", nargs="+", required=True, help="for example train dev test")
    parser.add_argument("--fbank-dir", required=True, help="holds cuts and features")
    parser.add_argument(
        "--sampling-rate", type=number(int, 1), default=16000, help="expected, in Hz"
    )
    parser.add_argument("--num-mel-bins", type=number(int, 1), default=80, help="expected")
    parser.add_argument(
        "--pitch", type=str2bool, default=False, help="features of the pitch are expected, too"
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError
    from gmot.data.features import load_cmvn
    from gmot.data.validate import expected_features, validate_cuts

    for part in args.parts:
        statistics = validate_cuts(
            args.fbank_dir,
            args.prefix,
            part,
            args.sampling_rate,
            args.num_mel_bins,
            args.pitch,
        )
        logging.info("%s: %s", part, statistics)
    mean, std = load_cmvn(args.fbank_dir, args.prefix)
    expected = expected_features(args.num_mel_bins, args.pitch)
    if len(mean) != expected:
        raise GmotError(
            f"statistics of {len(mean)} bins in {args.fbank_dir}, expected {expected}. "
            "Run the fbank stage again."
        )
    logging.info(
        "features: mean %.2f to %.2f, standard deviation %.2f to %.2f",
        mean.min(),
        mean.max(),
        std.min(),
        std.max(),
    )


if __name__ == "__main__":
    run(main)
