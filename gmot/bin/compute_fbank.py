"""Compute and store log-Mel filter banks with lhotse's extractor.

Writes <prefix>_cuts_<split>.jsonl.gz and the folder <prefix>_feats_<split> per split, and
<prefix>_cmvn.json with mean and standard deviation over the training split. An interrupted run
is resumed by the same command.
"""

from gmot.cli import ArgumentParser, PositiveInt, number


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True, help="corpus name, first part of file names")
    parser.add_argument("--splits", nargs="+", required=True, help="for example train dev test")
    parser.add_argument("--manifest-dir", required=True, help="folder of the manifests")
    parser.add_argument("--fbank-dir", required=True, help="output folder of cuts and features")
    parser.add_argument(
        "--num-mel-bins", type=number(int, 4), default=80, help="bins of the filter bank"
    )
    parser.add_argument(
        "--pitch",
        type=bool,
        default=False,
        help="append Kaldi's three pitch features",
    )
    parser.add_argument(
        "--speed-perturb",
        type=number(float, 0.1, 10.0),
        nargs="*",
        default=[],
        metavar="FACTOR",
        help="additional copies of the training split at these speeds, for example 0.9 1.1",
    )
    parser.add_argument(
        "--train-split", default="train", help="split that gets speed copies and statistics"
    )
    parser.add_argument("--num-jobs", type=PositiveInt, default=2, help="processes")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError
    from gmot.data.features import compute_fbank

    speeds = args.speed_perturb
    wrong = [s for s in speeds if s == 1 or speeds.count(s) > 1]
    if wrong:
        raise GmotError(
            f"--speed-perturb {wrong[0]}: expected distinct factors other than 1, such as 0.9 1.1"
        )
    for split in args.splits:
        train = split == args.train_split
        count = compute_fbank(
            prefix=args.prefix,
            split=split,
            manifest_dir=args.manifest_dir,
            fbank_dir=args.fbank_dir,
            num_mel_bins=args.num_mel_bins,
            speeds=speeds if train else (),
            num_jobs=args.num_jobs,
            write_cmvn=train,
            pitch=args.pitch,
        )
        logging.info("%s: features of %d utterances", split, count)
