"""Estimate an n-gram language model over the words of a lang folder, written as ARPA.

Interpolated modified Kneser-Ney from the text of the lang folder and of --text. Every word of
words.txt has a probability; other words count as <unk>. Order 4 on 120,000 sentences (800,000
words) takes half a minute and 1.3 GB, on 400,000 sentences (2.7 million words) four minutes and
3.2 GB.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, ClosedUnitInterval, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--lang-dir")
    parser.add_argument("--order", type=PositiveInt, default=3, help="of the model")
    parser.add_argument("--output", required=True, help="ARPA file to write")
    parser.add_argument(
        "--text",
        nargs="+",
        default=[],
        metavar="FILE",
        help="additional text, one raw sentence per line: it is normalised and segmented",
    )
    add_options(parser, "--normalizer")
    parser.add_argument(
        "--max-unknown",
        type=ClosedUnitInterval,
        default=0.2,
        help="drop sentences of --text with a larger share of unknown words",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    from pathlib import Path

    from gmot.common import require_file
    from gmot.text.lang import read_text
    from gmot.text.lexicon import Lexicon
    from gmot.text.ngram import train
    from gmot.text.normalize import load_normalizer
    from gmot.text.tokens import UNK, WordTable

    def log_size(path, sentences) -> None:
        words, unknown = sum(map(len, sentences)), sum(s.count(UNK) for s in sentences)
        logging.info("%s: %d sentences, %d words, %d unknown", path, len(sentences), words, unknown)

    normalize = load_normalizer(args.normalizer)
    lang_dir = Path(args.lang_dir)
    words = WordTable.load(lang_dir / "words.txt")
    remedy = "Make the lang folder first (local/prepare_lang.py)."
    text = require_file(lang_dir / "text", "Text of the language model", remedy)
    with open(text, encoding="utf-8") as lines:
        sentences = [sentence for sentence in map(str.split, lines) if sentence]
    log_size(text, sentences)
    lexicon = Lexicon.load(lang_dir / "lexicon.txt") if args.text else None
    for path in args.text:
        more = read_text(path, lexicon, normalize, args.max_unknown)
        log_size(path, more.sentences)
        logging.info(
            "%s: dropped %d empty lines and %d sentences with more than %d %% unknown words",
            *(path, more.empty, more.dropped, round(100 * args.max_unknown)),
        )
        sentences += more.sentences
    model = train(sentences, order=args.order, vocabulary=words.words)
    model.save_arpa(args.output)
    counts, perplexity = " + ".join(map(str, model.counts())), model.perplexity(sentences)
    logging.info(
        "%s: order %d, %s n-grams, perplexity on the training text %.2f",
        *(args.output, model.order, counts, perplexity),
    )
