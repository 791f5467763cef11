#!/usr/bin/env python3
"""Compute log-Mel filter banks of the manifests, once, with lhotse's extractor.

Writes <prefix>_cuts_<part>.jsonl.gz and the folder <prefix>_feats_<part> for
each part, and <prefix>_cmvn.json with mean and standard deviation over the
training part. A run that was interrupted goes on where it was.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run, str2bool  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True, help="first part of the file names")
    parser.add_argument("--parts", nargs="+", required=True, help="for example train dev test")
    parser.add_argument("--manifest-dir", required=True, help="holds the manifests")
    parser.add_argument("--fbank-dir", required=True, help="gets cuts and features")
    parser.add_argument(
        "--num-mel-bins", type=number(int, 1), default=80, help="of the filter bank"
    )
    parser.add_argument(
        "--pitch",
        type=str2bool,
        default=False,
        help="three features of the pitch beside them, Kaldi's (requirements/pitch.txt)",
    )
    parser.add_argument(
        "--speed-perturb",
        type=number(float, 0, above=True),
        nargs="*",
        default=[],
        metavar="FACTOR",
        help="copies of the training part at these speeds, for example 0.9 1.1",
    )
    parser.add_argument("--train-part", default="train", help="gets speeds and statistics")
    parser.add_argument(
        "--num-jobs", type=number(int, 1), default=2, help="processes of one thread each"
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError
    from gmot.data.features import compute_fbank

    speeds = args.speed_perturb
    wrong = [s for s in speeds if not 0.1 <= s <= 10 or s == 1 or speeds.count(s) > 1]
    if wrong:
        raise GmotError(
            f"--speed-perturb {wrong[0]}: give different factors of 0.1 to 10 other than 1, such "
            "as 0.9 1.1"
        )
    if args.num_mel_bins < 4:
        raise GmotError(f"--num-mel-bins {args.num_mel_bins}: expected 4 or more")
    for part in args.parts:
        train = part == args.train_part
        count = compute_fbank(
            prefix=args.prefix,
            part=part,
            manifest_dir=args.manifest_dir,
            fbank_dir=args.fbank_dir,
            num_mel_bins=args.num_mel_bins,
            speeds=speeds if train else (),
            num_jobs=args.num_jobs,
            write_cmvn=train,
            pitch=args.pitch,
        )
        logging.info("%s: features of %d utterances", part, count)


if __name__ == "__main__":
    run(main)
