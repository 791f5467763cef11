"""Make a recipe for a corpus of your own: inspect it, propose, write egs/NAME.

The corpus is Kaldi-style folders (--kaldi), tables of paths and transcripts (--table), or what a
recipe of lhotse reads (--lhotse). Prints what it finds (sampling rates, durations, missing and
broken files, characters, duplicates, speakers) and writes a folder that runs at once:
bash egs/NAME/run.sh. Splits, units, scoring, normaliser, limits and the size of the model are
proposed, and can be changed in its files (docs/corpora.md).
"""

from gmot.bin._options import add_source_options, make_parser, name_values
from gmot.cli import ArgumentParser, NonNegativeInt, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("name", metavar="NAME", help="of the corpus: small letters, digits, _")
    parser.add_argument(
        "--kaldi",
        metavar="DIR",
        help="Kaldi-style folder (wav.scp, text; optionally segments, utt2spk), or a folder with "
        "one per split",
    )
    parser.add_argument(
        "--lhotse", metavar="RECIPE", help="recipe of lhotse, which reads --corpus-dir"
    )
    add_source_options(parser, channel=0)
    parser.add_argument(
        "--language",
        help="code such as en, zh, ru or zh-en; default: found from the characters of the text",
    )
    parser.add_argument(
        "--teacher",
        help="language model: Hugging Face folder or name; default: bert-base-chinese for "
        "Mandarin, multilingual-e5-small for others",
    )
    parser.add_argument("--output", help="folder of the recipe; default: egs/NAME")
    parser.add_argument(
        "--seed", type=NonNegativeInt, default=0, help="of the choice of utterances for splits"
    )
    parser.add_argument("--num-jobs", type=PositiveInt, default=4, help="audio files at a time")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import shlex
    from pathlib import Path

    from gmot.common import GmotError
    from gmot.corpus.create import create_recipe
    from gmot.corpus.folder import ROOT
    from gmot.data.source import Source

    given = [name for name in ("kaldi", "table", "lhotse") if getattr(args, name) is not None]
    if len(given) != 1:
        raise GmotError(
            "expected exactly one of --kaldi, --table and --lhotse, found "
            f"{' and '.join(f'--{name}' for name in given) or 'none'}."
        )
    if (args.corpus_dir is None) != (args.lhotse is None):
        raise GmotError("expected --corpus-dir with --lhotse RECIPE, and only there.")
    source = Source(
        corpus_dir=args.kaldi or args.corpus_dir,
        recipe=args.lhotse,
        recipe_options=name_values("--recipe-options", args.recipe_options, plain=False),
        tables=args.table or (),
        columns=name_values("--columns", args.columns),
        audio_dir=args.audio_dir,
        channel=args.channel,
    )
    output = Path(args.output) if args.output else ROOT / "egs" / args.name
    made = create_recipe(
        args.name, source, output, args.language, args.teacher, args.seed, args.num_jobs
    )
    print(made.report)
    inside = made.folder.absolute().parent.parent == ROOT == Path.cwd()
    shown = made.folder.absolute().relative_to(ROOT) if inside else made.folder.absolute()
    print(f"Written: {shown}. Next: bash {shlex.quote(str(shown / 'run.sh'))}")
