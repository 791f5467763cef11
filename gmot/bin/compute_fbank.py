"""Compute and store log-Mel filter banks with lhotse's extractor.

Writes <prefix>_cuts_<split>.jsonl.gz and the folder <prefix>_feats_<split> per split, and
<prefix>_cmvn.json with mean and standard deviation over the training split. An interrupted run
is resumed by the same command.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, PositiveInt, number


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--prefix", "--splits", "--manifest-dir", "--num-mel-bins")
    add_options(parser, "--fbank-dir", help="output folder of cuts and features")
    add_options(parser, "--pitch", help="append Kaldi's three pitch features")
    parser.add_argument(
        "--speed-perturb",
        type=number(float, 0.1, 10.0),
        nargs="*",
        default=[],
        metavar="FACTOR",
        help="additional copies of the training split at these speeds, for example 0.9 1.1",
    )
    parser.add_argument(
        "--store-features",
        type=bool,
        default=True,
        help="false: write cuts and statistics alone; training and decoding compute the features "
        "whenever they load an utterance",
    )
    add_options(parser, "--train-split", help="split that gets speed copies and statistics")
    parser.add_argument("--num-jobs", type=PositiveInt, default=2, help="processes")
    add_options(parser, "--executor")
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
            store=args.store_features,
            executor=args.executor,
        )
        logging.info("%s: features of %d utterances", split, count)
