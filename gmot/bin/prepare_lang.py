"""Make the lang folder from the training transcripts alone.

tokens.txt has the tokens of the transcripts: characters, the pieces of the teacher's tokenizer, or
byte-pair encoding (bpe.json) of the transcripts; units.json says which. words.txt and lexicon.txt
have the words and the single Chinese characters, text the segmented transcripts. --lexicon adds the
words of a pronunciation lexicon that the tokens can spell, --init-lang-dir the tokens and words of
the model that training starts from (and its byte-pair encoding). What the other splits contain
beyond that is logged and written to report.json.
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, PositiveInt

if TYPE_CHECKING:
    from gmot.text.units import Units


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--manifest-dir", "--prefix")
    parser.add_argument(
        "--units",
        choices=("characters", "pieces", "bpe"),
        default="pieces",
        help="tokens: characters, pieces of the teacher's tokenizer, or byte-pair encoding",
    )
    parser.add_argument(
        "--vocab-size",
        type=PositiveInt,
        default=500,
        help="tokens of --units bpe, without Chinese and Japanese characters",
    )
    add_options(parser, "--teacher", help="its tokenizer makes --units pieces")
    add_options(parser, "--train-split", help="split of the transcripts")
    parser.add_argument("--other-splits", nargs="*", default=[], help="compared with it")
    parser.add_argument(
        "--lexicon", metavar="FILE", help="pronunciation lexicon, 'word phone phone ...' lines"
    )
    add_options(parser, "--normalizer")
    parser.add_argument(
        "--init-lang-dir",
        metavar="DIR",
        help="lang folder of the model that training starts from (train.py --init-from)",
    )
    add_options(parser, "--lang-dir", help="output folder")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from pathlib import Path

    from gmot.common import GmotError, write_json
    from gmot.data.manifests import load_supervisions
    from gmot.text.lang import Lang, describe_split, read_kept
    from gmot.text.lexicon import WordList, read_word_list
    from gmot.text.normalize import load_normalizer
    from gmot.text.units import save_units

    if args.units == "pieces" and not args.teacher:
        raise GmotError("--units pieces needs --teacher, whose tokenizer makes them.")
    texts = {
        split: [text for _, text in load_supervisions(args.manifest_dir, args.prefix, split)]
        for split in dict.fromkeys([args.train_split, *args.other_splits])
    }
    train_texts = texts[args.train_split]
    if not any(text.strip() for text in train_texts):
        raise GmotError(
            f"{args.manifest_dir}: the transcripts of '{args.train_split}' are empty. "
            "Check the text of the corpus and run the manifests stage again."
        )
    units = make_units(args, train_texts)
    listed = WordList([], 0, [])
    if args.lexicon:
        listed = read_word_list(args.lexicon, load_normalizer(args.normalizer))
    kept_tokens, kept_words = [], []
    if args.init_lang_dir:
        kept_tokens, kept_words = read_kept(args.init_lang_dir, units.tokenize)
        logging.info("%s: %d tokens kept", args.init_lang_dir, len(kept_tokens))
    words = [*listed.words, *kept_words]
    lang = Lang.from_texts(train_texts, units.tokenize, words, kept_tokens)
    report = {
        "units": units.kind,
        "tokens": len(lang.tokens),
        "words": len(lang.words.words),
        "text_unknown": sum(words.count("<unk>") for words in lang.text),
        "splits": {s: describe_split(found, units, lang.tokens) for s, found in texts.items()},
    }
    if args.lexicon:
        report["lexicon"] = {
            "words": len(listed.words),
            "repeated": listed.repeated,
            "no_words": listed.no_words,
            "with_unknown_tokens": [word for word in listed.words if word not in lang.lexicon],
        }
    lang.save(args.lang_dir)
    save_units(units, args.lang_dir)
    report_file = Path(args.lang_dir) / "report.json"
    write_json(report_file, report)
    log_report(report, report_file, args.lexicon)
    logging.info(
        "%s: %s, %d tokens, %d words, %d sentences",
        *(args.lang_dir, units.kind, report["tokens"], report["words"], len(lang.text)),
    )


def make_units(args: argparse.Namespace, texts: Sequence[str]) -> "Units":
    """Units of the options."""
    from gmot.text.units import Bpe, Characters, Pieces, load_units

    if args.units == "pieces":
        from gmot.teacher import TeacherTokenizer  # loading transformers takes seconds

        return Pieces(TeacherTokenizer(args.teacher))
    if args.units == "characters":
        return Characters()
    if args.init_lang_dir:
        kept = load_units(args.init_lang_dir)
        if kept.kind == "bpe":
            return kept
    return Bpe.train(texts, args.vocab_size)


def log_report(report: dict[str, Any], path: Any, lexicon: str | None) -> None:
    """Log the contents of ``report.json``, with ten examples at most."""
    if lexicon:
        found = report["lexicon"]
        unknown, no_words = found["with_unknown_tokens"], found["no_words"]
        logging.info(
            "%s: %d words; %d with pieces that are not tokens (%s); %d entries that are not words "
            "(%s); %d repeated words",
            *(lexicon, found["words"], len(unknown), _examples(unknown)),
            *(len(no_words), _examples(no_words), found["repeated"]),
        )
    for split, found in report["splits"].items():
        oov, lacking = found["oov"], found["lacking_in_teacher"]
        logging.info(
            "%s: %d utterances, %d pieces; %d pieces that are not tokens (%d distinct: %s); "
            "%d utterances with digits or Latin letters",
            *(split, found["utterances"], found["pieces"], found["oov_pieces"]),
            *(len(oov), _examples(oov), found["utterances_with_digits_or_latin"]),
        )
        if lacking:
            logging.warning(
                "%s: the teacher's tokenizer cannot spell %d characters or words, which become "
                "<unk> (%d distinct: %s; all in %s)",
                *(split, sum(lacking.values()), len(lacking)),
                *(_examples(f"{unit} {count}" for unit, count in lacking.items()), path),
            )


def _examples(items: Iterable[str]) -> str:
    items = list(items)
    return (", ".join(items[:10]) or "none") + (", ..." if len(items) > 10 else "")
