#!/usr/bin/env python3
"""Pack synthesised speech into the archives of egs/mini/speech.

Input: the Kaldi-style folders of ``make_speech.py --size small``. Output, per
split: audio.tar (one Ogg Opus file per utterance), text and utt2spk; and the
SHA-256 sums of all of them. The same input, libsndfile and libopus give the
same bytes.
"""

import hashlib
import struct
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, run  # noqa: E402

BITRATE = 24000  # bits per second at 16 kHz; Opus varies it around this value
# libsndfile's range of bit rates of Opus, mapped to compression levels 1 to 0.
LOWEST_BITRATE, HIGHEST_BITRATE = 6000, 256000
SERIAL = 1  # of the Ogg stream; libsndfile draws a random one
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus-dir", required=True, help="output folder of make_speech.py")
    parser.add_argument("--speech-dir", required=True, help="folder for the archives")
    return parser


def encode(path: str) -> bytes:
    """An audio file as Ogg Opus."""
    import io

    import soundfile

    samples, rate = soundfile.read(path, dtype="int16")
    file = io.BytesIO()
    level = (HIGHEST_BITRATE - BITRATE) / (HIGHEST_BITRATE - LOWEST_BITRATE)
    soundfile.write(file, samples, rate, format="OGG", subtype="OPUS", compression_level=level)
    return with_serial(file.getvalue(), SERIAL)


def with_serial(ogg: bytes, serial: int) -> bytes:
    """An Ogg stream with another serial number (RFC 3533: a page has it at 14, its CRC at 22)."""
    pages, start = [], 0
    while start < len(ogg):
        segments = ogg[start + 26]
        end = start + 27 + segments + sum(ogg[start + 27 : start + 27 + segments])
        page = bytearray(ogg[start:end])
        struct.pack_into("<I", page, 14, serial)
        struct.pack_into("<I", page, 22, 0)  # the CRC is that of the page with a CRC of zero
        struct.pack_into("<I", page, 22, ogg_crc(page))
        pages.append(page)
        start = end
    return b"".join(pages)


def ogg_crc(page: bytes) -> int:
    """CRC-32 of an Ogg page: zlib's polynomial, most significant bit first, without inversions."""
    crc = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def pack(source: Path, target: Path) -> int:
    """Pack a Kaldi-style folder; returns the number of utterances."""
    import io
    import tarfile

    from unpack_speech import AUDIO, TABLES

    from gmot.common import atomic_path

    lines = (source / "wav.scp").read_text(encoding="utf-8").splitlines()
    with atomic_path(target) as folder:
        folder.mkdir()
        with tarfile.open(folder / AUDIO, "w", format=tarfile.USTAR_FORMAT) as archive:
            for utterance, path in sorted(line.split(maxsplit=1) for line in lines):
                audio = encode(path)
                entry = tarfile.TarInfo(f"{utterance}.ogg")  # mode 644, no time, no owner
                entry.size = len(audio)
                archive.addfile(entry, io.BytesIO(audio))
        for table in TABLES:
            (folder / table).write_bytes((source / table).read_bytes())
    return len(lines)


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from unpack_speech import CHECKSUMS, SPLITS

    from gmot.common import atomic_path

    corpus_dir, speech_dir = Path(args.corpus_dir), Path(args.speech_dir)
    for split in SPLITS:
        found = pack(corpus_dir / split, speech_dir / split)
        logging.info("%s: %d utterances", speech_dir / split, found)
    with atomic_path(speech_dir / CHECKSUMS) as temporary:
        files = sorted(speech_dir.glob("*/*"))
        temporary.write_text(
            "".join(
                f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(speech_dir)}\n"
                for file in files
            )
        )
    logging.info("%.1f MiB", sum(file.stat().st_size for file in files) / 2**20)


if __name__ == "__main__":
    run(main)
