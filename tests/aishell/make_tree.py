#!/usr/bin/env python3
"""Make a small AISHELL-1: the corpus' folders, names and files, filled with other speech.

Folders data_aishell/{wav,transcript} and resource_aishell, or with --archives
the two .tgz that hold them (and in the first one archive a speaker, as in the
real one) with their md5sum.txt. The speech is real (--sample: a folder of
NAME.flac with transcripts.tsv) or whatever Kaldi-style folders hold (--kaldi-dir,
such as egs/mini makes). The same input gives the same bytes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from gmot.cli import ArgumentParser, NonNegativeInt, PositiveInt, run  # noqa: E402

PARTS = ("train", "dev", "test")


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--sample", metavar="DIR", help="NAME.flac files and transcripts.tsv")
    source.add_argument(
        "--kaldi-dir",
        metavar="DIR",
        help="has {train,dev,test}/{wav.scp,text}",
    )
    parser.add_argument("--output", required=True, help="gets the tree, or the archives")
    parser.add_argument(
        "--num-utterances",
        type=NonNegativeInt,
        nargs=3,
        metavar=("TRAIN", "DEV", "TEST"),
        help="the first so many, in the order of their names; default: all of --kaldi-dir, and "
        "350 50 54 of --sample",
    )
    parser.add_argument(
        "--speakers",
        type=PositiveInt,
        nargs=3,
        default=[2, 1, 1],
        metavar=("TRAIN", "DEV", "TEST"),
        help="the utterances are dealt out to so many names",
    )
    parser.add_argument(
        "--only-chinese",
        type=bool,
        nargs="?",
        const=True,
        default=True,
        help="leave out texts with anything but Chinese characters (AISHELL-1 has next to none)",
    )
    parser.add_argument(
        "--archives", action="store_true", help="make the two archives, not the folders"
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from tree import make_tree, read_kaldi, read_sample

    if args.sample:
        parts = read_sample(
            Path(args.sample), args.num_utterances or (350, 50, 54), args.only_chinese
        )
    else:
        parts = read_kaldi(Path(args.kaldi_dir), args.num_utterances, args.only_chinese)
    made = make_tree(parts, args.speakers, Path(args.output), archives=args.archives)
    for part, ids in made.items():
        logging.info("%s: %d utterances, %s to %s", part, len(ids), ids[0], ids[-1])


if __name__ == "__main__":
    run(main)
