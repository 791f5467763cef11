#!/usr/bin/env python3
"""Make the manifests of a corpus: what audio there is and what is said in it.

Reads Kaldi-style folders CORPUS/<part>/{wav.scp,text[,utt2spk][,segments]}, or
with --recipe what lhotse's recipe of that name reads. Writes
<prefix>_{recordings,supervisions}_<part>.jsonl.gz with normalised text and
absolute paths, and excluded.txt with what could not be used and why. With
--inventory what the corpus holds is compared with what it should hold.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run, str2bool  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus-dir", required=True, help="the corpus as it was received")
    parser.add_argument("--prefix", required=True, help="first part of the file names")
    parser.add_argument("--parts", nargs="+", required=True, help="for example train dev test")
    parser.add_argument("--manifest-dir", required=True, help="gets the manifests")
    parser.add_argument("--recipe", help="a recipe of lhotse; without it Kaldi-style folders")
    parser.add_argument(
        "--recipe-options",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="more arguments of the recipe's function, for example languages=zh-CN",
    )
    parser.add_argument(
        "--sampling-rate", type=number(int, 1), default=16000, help="of all audio, in Hz"
    )
    parser.add_argument(
        "--normalize-command", metavar="CMD", help="shell filter, one transcript a line"
    )
    parser.add_argument(
        "--inventory", metavar="FILE.yaml", help="what it should hold (gmot/data/inventory.py)"
    )
    parser.add_argument(
        "--strict", type=str2bool, default=False, help="stop where it holds something else"
    )
    parser.add_argument(
        "--num-jobs", type=number(int, 1), default=4, help="audio files opened at a time"
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    import yaml

    from gmot.common import GmotError
    from gmot.data.manifests import prepare_manifests

    options = {}
    for option in args.recipe_options:
        name, equals, value = option.partition("=")
        if not (args.recipe and name and equals):
            raise GmotError(f"--recipe-options {option}: expected NAME=VALUE, and a --recipe.")
        try:
            options[name] = yaml.safe_load(value)  # numbers, true, [lists], text
        except yaml.YAMLError:
            options[name] = value
    parts = prepare_manifests(
        corpus_dir=args.corpus_dir,
        prefix=args.prefix,
        parts=args.parts,
        manifest_dir=args.manifest_dir,
        recipe=args.recipe,
        recipe_options=options,
        sampling_rate=args.sampling_rate,
        normalize_command=args.normalize_command,
        num_jobs=args.num_jobs,
        inventory=args.inventory,
        strict=args.strict,
    )
    for part in parts:
        hours = sum(s.duration for s in part.supervisions.values()) / 3600
        logging.info(
            "%s: %d utterances, %.2f hours, %d left out",
            part.name,
            len(part.supervisions),
            hours,
            len(part.excluded),
        )


if __name__ == "__main__":
    run(main)
