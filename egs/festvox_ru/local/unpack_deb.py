#!/usr/bin/env python3
"""Unpack the voice of the Debian package festvox-ru without root, dpkg and ar.

Reads the .deb (an ar archive with a compressed tar archive) and writes the
recordings (wav/), phone times (lab/), sentences (etc/txt.done.data) and the
copyright file to a folder. Nothing of the package is installed or run.
"""

import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, run  # noqa: E402

VOICE = "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
COPYRIGHT = "usr/share/doc/festvox-ru/copyright"


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--deb", required=True, help="festvox-ru_0.5+dfsg-6_all.deb")
    parser.add_argument("--output-dir", required=True, help="folder of the voice")
    return parser


def find_member(deb: IO[bytes], prefix: str) -> bytes:
    """Content of the first member of an ar archive whose name begins with ``prefix``.

    Raises:
      ValueError: not an ar archive, or no such member.
    """
    if deb.read(8) != b"!<arch>\n":
        raise ValueError("not an ar archive")
    while len(header := deb.read(60)) == 60:
        size = int(header[48:58])
        if header.startswith(prefix.encode()):
            return deb.read(size)
        deb.seek(size + size % 2, 1)
    raise ValueError(f"no member {prefix}")


def wanted_files(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Members of the tar archive that the recipe reads, with their paths in the output."""
    for member in archive:
        path = PurePosixPath(member.name.removeprefix("./"))
        if not member.isfile():
            continue
        if str(path) == COPYRIGHT:
            yield member, PurePosixPath("copyright")
        elif path.is_relative_to(VOICE):
            inner = path.relative_to(VOICE)
            if (inner.parent.name, inner.suffix) in (("wav", ".wav"), ("lab", ".lab")) or (
                inner.name == "txt.done.data"
            ):
                yield member, PurePosixPath(inner.parent.name, inner.name)


def main() -> None:
    args = get_parser().parse_args()
    import io
    import logging
    import lzma
    import shutil

    from gmot.common import GmotError, atomic_path, require_file

    require_file(args.deb, "Debian package", "Give the festvox-ru package.")
    count = 0
    try:
        with open(args.deb, "rb") as deb:
            data = io.BytesIO(find_member(deb, "data.tar"))
        with tarfile.open(fileobj=data) as archive, atomic_path(args.output_dir) as output:
            for member, path in wanted_files(archive):
                (output / path).parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None  # a file
                with source, open(output / path, "wb") as target:
                    shutil.copyfileobj(source, target)
                count += path.suffix == ".wav"
            if count == 0:
                raise GmotError(f"{args.deb}: no {VOICE}/wav in it. Give the package festvox-ru.")
    except (ValueError, EOFError, lzma.LZMAError, tarfile.TarError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise GmotError(
            f"{args.deb}: not a complete Debian package ({error}). Download it again."
        ) from None
    logging.info("%s: %d recordings", args.output_dir, count)


if __name__ == "__main__":
    run(main)
