#!/usr/bin/env python3
"""Normalise transcripts: standard input to standard output, line by line.

Full-width forms become half-width, letters upper case; punctuation and spaces
between Chinese characters are removed. So are tags, which are not spoken:
<SPOKEN_NOISE>, [noise], {BREATH} (one word), and names of sounds as (laughter),
++noise++ or *cough*. Tags of unknown words, as <UNK>, become <unk>. Tags are counted
in the log. One line in gives one line out, empty if nothing in it is spoken.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "--keep-case", action="store_true", help="keep the case of letters (scores ignore it)"
    )
    parser.add_argument(
        "--skip-fields",
        type=number(int, 0),
        default=0,
        help="leading fields to pass on unchanged: 1 for lines of 'id transcript'",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    from collections import Counter

    from gmot.common import GmotError
    from gmot.text.normalize import find_tags, normalize_text

    tags: Counter = Counter()
    empty = number = 0
    for number, raw in enumerate(sys.stdin.buffer, 1):  # bytes: "\n" alone ends a line
        try:
            fields = raw.decode("utf-8").rstrip("\r\n").split(maxsplit=args.skip_fields)
        except UnicodeDecodeError as error:
            raise GmotError(f"standard input, line {number}: not UTF-8 ({error}).") from None
        raw_text = "".join(fields[args.skip_fields :])
        tags.update(find_tags(raw_text))
        text = normalize_text(raw_text, upper=not args.keep_case)
        empty += not text
        line = " ".join([*fields[: args.skip_fields], text])
        sys.stdout.buffer.write(line.encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()
    if tags:
        most = ", ".join(f"{tag} {count}" for tag, count in tags.most_common(10))
        logging.info(
            "%d tags (%d distinct: %s%s) removed, or <unk> for unknown words",
            *(sum(tags.values()), len(tags), most, ", ..." if len(tags) > 10 else ""),
        )
    if empty:
        logging.warning("%d of %d lines are empty after normalisation", empty, number)


if __name__ == "__main__":
    run(main)
