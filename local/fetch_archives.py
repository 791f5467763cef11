#!/usr/bin/env python3
"""Fetch the archives of a corpus where they are missing, check and unpack them.

Each archive X.tgz becomes the folder X in --corpus-dir, which appears when it
is whole; archives inside it are unpacked as well. A download that was
interrupted goes on. What is unpacked already from an archive of the same
checksum is left as it is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--names", nargs="+", required=True, help="of the archives")
    parser.add_argument("--checksums", required=True, help="their MD5, as md5sum lists it")
    parser.add_argument("--archive-dir", required=True, help="has the archives, or gets them")
    parser.add_argument(
        "--mirror", default="", help="URL of the folder with the archives, or a local folder"
    )
    parser.add_argument("--corpus-dir", required=True, help="gets the folders")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.data.download import obtain

    obtain(args.names, args.checksums, args.archive_dir, args.corpus_dir, args.mirror)


if __name__ == "__main__":
    run(main)
