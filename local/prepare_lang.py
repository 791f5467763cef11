#!/usr/bin/env python3
"""Make the lang folder out of the training transcripts alone.

tokens.txt has the pieces into which the teacher's tokenizer splits them,
words.txt and lexicon.txt their words and single characters, text the
transcripts in words. With --lexicon the words of a pronunciation lexicon are
words too, where the tokens can spell them. With --init-lang-dir the tokens and
words of a model that training starts from are kept beside them. What the other
parts hold beyond that is counted, printed and written to report.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--manifest-dir", required=True, help="holds the manifests")
    parser.add_argument("--prefix", required=True, help="first part of their names")
    parser.add_argument("--train-part", default="train", help="makes tokens, words and text")
    parser.add_argument("--other-parts", nargs="*", default=[], help="are compared with it")
    parser.add_argument("--teacher", required=True, help="folder of the language model")
    parser.add_argument(
        "--lexicon",
        help="more words: a pronunciation lexicon of 'word phone phone ...' lines",
    )
    parser.add_argument(
        "--init-lang-dir",
        metavar="DIR",
        help="lang folder of the model that training starts from (train.py --init-from)",
    )
    parser.add_argument("--lang-dir", required=True, help="gets the files")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError, write_json
    from gmot.data.manifests import load_supervisions
    from gmot.teacher import TeacherTokenizer
    from gmot.text.lang import Lang, describe_part, read_kept
    from gmot.text.lexicon import WordList, read_word_list
    from gmot.text.normalize import normalizer_like

    tokenizer = TeacherTokenizer(args.teacher)
    texts = {
        part: [text for _, text in load_supervisions(args.manifest_dir, args.prefix, part)]
        for part in dict.fromkeys([args.train_part, *args.other_parts])
    }
    if not any(text.strip() for text in texts[args.train_part]):
        raise GmotError(
            f"{args.manifest_dir}: the transcripts of '{args.train_part}' are empty. "
            "Check the text of the corpus and run the manifests stage again."
        )
    listed = WordList([], 0, [])
    if args.lexicon:
        listed = read_word_list(args.lexicon, normalizer_like(texts[args.train_part]))
    kept, its_words = [], []
    if args.init_lang_dir:
        kept, its_words = read_kept(args.init_lang_dir, tokenizer.tokenize)
        logging.info("%s: %d tokens are kept", args.init_lang_dir, len(kept))
    lang = Lang.from_texts(
        texts[args.train_part], tokenizer.tokenize, [*listed.words, *its_words], kept
    )
    report = {
        "tokens": len(lang.tokens),
        "words": len(lang.words.words),
        "text_unknown": sum(words.count("<unk>") for words in lang.text),
        "parts": {
            part: describe_part(part_texts, tokenizer, lang.tokens)
            for part, part_texts in texts.items()
        },
    }
    if args.lexicon:
        unspelled = [word for word in listed.words if word not in lang.lexicon]
        report["lexicon"] = {
            "words": len(listed.words),
            "repeated": listed.repeated,
            "no_words": listed.no_words,
            "with_unknown_tokens": unspelled,
        }
        logging.info(
            "%s: %d words; left out: %d with pieces that are not among the tokens (%s), "
            "%d that are no words (%s); %d lines repeat a word",
            *(args.lexicon, len(listed.words)),
            *(len(unspelled), " ".join(unspelled[:10]) or "none"),
            *(len(listed.no_words), " ".join(listed.no_words[:10]) or "none"),
            listed.repeated,
        )
    lang.save(args.lang_dir)
    write_json(Path(args.lang_dir) / "report.json", report)
    for part, found in report["parts"].items():
        logging.info(
            "%s: %d utterances, %d pieces; not among the tokens: %d pieces (%d distinct: %s); "
            "utterances with digits or Latin letters: %d",
            part,
            found["utterances"],
            found["pieces"],
            found["oov_pieces"],
            len(found["oov"]),
            " ".join(list(found["oov"])[:10]) or "none",
            found["utterances_with_digits_or_latin"],
        )
        lacking = found["lacking_in_teacher"]
        if lacking:
            logging.warning(
                "%s: the teacher's tokenizer cannot spell %d characters or words (%d distinct: "
                "%s%s); they are <unk>. All of them: %s",
                *(part, sum(lacking.values()), len(lacking)),
                ", ".join(f"{unit} {count}" for unit, count in list(lacking.items())[:10]),
                ", ..." if len(lacking) > 10 else "",
                Path(args.lang_dir) / "report.json",
            )
    logging.info(
        "%s: %d tokens, %d words, %d sentences",
        args.lang_dir,
        len(lang.tokens),
        len(lang.words.words),
        len(lang.text),
    )


if __name__ == "__main__":
    run(main)
