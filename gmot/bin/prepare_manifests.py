"""Make the manifests of a corpus: recordings and normalised transcripts per split.

Reads Kaldi-style folders CORPUS/<split>/{wav.scp,text[,utt2spk][,segments]}, or with --recipe
what lhotse's recipe of that name reads. Writes <prefix>_{recordings,supervisions}_<split>.jsonl.gz
with absolute paths, and excluded.txt with the utterances that cannot be used and the reasons.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--prefix", "--splits", "--sampling-rate")
    parser.add_argument("--corpus-dir", required=True, help="the corpus")
    add_options(parser, "--manifest-dir", help="output folder")
    parser.add_argument("--recipe", help="recipe of lhotse; default: Kaldi-style folders")
    parser.add_argument(
        "--recipe-options",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="arguments of the recipe's function, for example languages=zh-CN",
    )
    parser.add_argument(
        "--normalizer",
        default="gmot.text.normalize:normalize_text",
        metavar="MODULE:FUNCTION",
        help="Python function from transcript to normalised transcript; builtins:str changes "
        "nothing, gmot.text.normalize:normalize_keeping_case keeps the case of letters",
    )
    parser.add_argument("--num-jobs", type=PositiveInt, default=4, help="audio files at a time")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    import yaml

    from gmot.common import GmotError
    from gmot.data.manifests import prepare_manifests
    from gmot.text.normalize import load_normalizer

    options = {}
    for option in args.recipe_options:
        name, equals, value = option.partition("=")
        if not (args.recipe and name and equals):
            raise GmotError(f"--recipe-options {option}: expected NAME=VALUE, and a --recipe.")
        try:
            options[name] = yaml.safe_load(value)  # numbers, true, [lists], text
        except yaml.YAMLError:
            options[name] = value
    splits = prepare_manifests(
        corpus_dir=args.corpus_dir,
        prefix=args.prefix,
        splits=args.splits,
        manifest_dir=args.manifest_dir,
        recipe=args.recipe,
        recipe_options=options,
        sampling_rate=args.sampling_rate,
        normalizer=load_normalizer(args.normalizer),
        num_jobs=args.num_jobs,
    )
    for split in splits:
        hours = sum(s.duration for s in split.supervisions.values()) / 3600
        logging.info(
            "%s: %d utterances, %.2f hours, %d excluded",
            *(split.name, len(split.supervisions), hours, len(split.excluded)),
        )
