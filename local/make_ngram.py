#!/usr/bin/env python3
"""Estimate an n-gram language model over the words of a lang folder; write it as ARPA.

Interpolated modified Kneser-Ney, without pruning. Every word of words.txt has
a probability; words of the text that it lacks count as <unk>.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--lang-dir", required=True, help="has words.txt and text")
    parser.add_argument("--order", type=int, default=3, help="length of the longest n-gram")
    parser.add_argument("--output", required=True, help="the ARPA file to write")
    parser.add_argument(
        "--text",
        help="sentences as words separated by spaces, a line each; default: text in --lang-dir",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import require_file
    from gmot.text.ngram import train
    from gmot.text.tokens import WordTable

    words = WordTable.load(Path(args.lang_dir) / "words.txt")
    text = require_file(
        args.text or Path(args.lang_dir) / "text",
        "Text of the language model",
        "Make the lang folder first (local/prepare_lang.py), or give --text.",
    )
    with open(text, encoding="utf-8") as lines:
        sentences = [words_of_line for words_of_line in map(str.split, lines) if words_of_line]
    model = train(sentences, order=args.order, vocabulary=words.words)
    model.save_arpa(args.output)
    total = sum(map(len, sentences))
    unknown = sum(word not in words or word == "<unk>" for s in sentences for word in s)
    logging.info("%s: %d sentences, %d words, %d unknown", text, len(sentences), total, unknown)
    logging.info(
        "%s: order %d, %s n-grams, perplexity on the training text %.2f",
        args.output,
        model.order,
        " + ".join(map(str, model.counts())),
        model.perplexity(sentences),
    )


if __name__ == "__main__":
    run(main)
