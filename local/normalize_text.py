#!/usr/bin/env python3
"""Normalise transcripts: standard input to standard output, line by line.

Full-width forms become half-width, letters upper case; punctuation and spaces
between Chinese characters are removed. One line in gives one line out, empty
if nothing in it is spoken.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--keep-case", action="store_true", help="leave letters as they are")
    parser.add_argument(
        "--skip-fields",
        type=int,
        default=0,
        help="leading fields to pass on unchanged: 1 for lines of 'id transcript'",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError
    from gmot.text.normalize import normalize_text

    empty = number = 0
    for number, raw in enumerate(sys.stdin.buffer, 1):  # bytes: "\n" alone ends a line
        try:
            fields = raw.decode("utf-8").rstrip("\r\n").split(maxsplit=args.skip_fields)
        except UnicodeDecodeError as error:
            raise GmotError(f"standard input, line {number}: not UTF-8 ({error}).") from None
        text = normalize_text("".join(fields[args.skip_fields :]), upper=not args.keep_case)
        empty += not text
        line = " ".join([*fields[: args.skip_fields], text])
        sys.stdout.buffer.write(line.encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()
    if empty:
        logging.warning("%d of %d lines are empty after normalisation", empty, number)


if __name__ == "__main__":
    run(main)
