"""Make the manifests of a corpus: recordings and normalised transcripts per split.

Reads Kaldi-style folders CORPUS/<split>/{wav.scp,text[,utt2spk][,segments]}, with --table files of
paths and transcripts, or with --recipe what lhotse's recipe of that name reads. Writes
<prefix>_{recordings,supervisions}_<split>.jsonl.gz with absolute paths, and excluded.txt with the
utterances that cannot be used and the reasons. Audio of other sampling rates is resampled.
"""

from gmot.bin._options import add_options, add_source_options, make_parser, name_values
from gmot.cli import ArgumentParser, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--prefix", "--splits", "--sampling-rate")
    add_options(parser, "--manifest-dir", help="output folder")
    add_source_options(parser)
    parser.add_argument("--recipe", help="recipe of lhotse; default: Kaldi-style folders")
    parser.add_argument(
        "--split-lists",
        metavar="DIR",
        help="folder with the utterances of each split, DIR/<split>.txt; default: the splits of "
        "the corpus",
    )
    parser.add_argument(
        "--source-splits", nargs="+", help="splits of the corpus that the lists choose from"
    )
    parser.add_argument(
        "--resample",
        type=bool,
        default=True,
        help="resample audio of other rates; false: exclude it",
    )
    add_options(parser, "--normalizer")
    parser.add_argument("--num-jobs", type=PositiveInt, default=4, help="audio files at a time")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError
    from gmot.data.manifests import prepare_manifests
    from gmot.text.normalize import load_normalizer

    if (args.corpus_dir is None) == (args.table is None):
        raise GmotError("expected one of --corpus-dir and --table.")
    if args.recipe_options and not args.recipe:
        raise GmotError(f"--recipe-options {args.recipe_options[0]}: expected a --recipe.")
    splits = prepare_manifests(
        corpus_dir=args.corpus_dir,
        prefix=args.prefix,
        splits=args.splits,
        manifest_dir=args.manifest_dir,
        recipe=args.recipe,
        recipe_options=name_values("--recipe-options", args.recipe_options, plain=False),
        tables=args.table or (),
        columns=name_values("--columns", args.columns),
        audio_dir=args.audio_dir,
        channel=args.channel,
        split_lists=args.split_lists,
        source_splits=args.source_splits,
        resample=args.resample,
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
