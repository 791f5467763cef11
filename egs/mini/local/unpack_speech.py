#!/usr/bin/env python3
"""Unpack the speech of the mini corpus: Kaldi-style folders train, dev, test.

The archives of egs/mini/speech are checked against their SHA-256 sums first.
Size tiny is a subset of small: the first sentences of each split.
"""

import hashlib
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, run  # noqa: E402
from gmot.common import GmotError, atomic_path, require_file  # noqa: E402

SPEECH_DIR = Path(__file__).resolve().parents[1] / "speech"
CHECKSUMS = "SHA256SUMS"  # as sha256sum writes and checks it
SPLITS = ("train", "dev", "test")
AUDIO = "audio.tar"
TABLES = ("text", "utt2spk")


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("tiny", "small"), default="small")
    parser.add_argument("--speech-dir", default=str(SPEECH_DIR), help="folder of the archives")
    parser.add_argument(
        "--output-dir", required=True, help="folder for {train,dev,test}/{wav.scp,text,utt2spk}"
    )
    return parser


def verify(speech_dir: Path) -> None:
    """Check the SHA-256 sum of every file of the speech folder.

    Raises:
      GmotError: a file is missing, incomplete or changed.
    """
    restore = f"Restore the folder: git checkout -- {speech_dir}"
    sums = require_file(speech_dir / CHECKSUMS, "checksums of the speech", restore)
    expected = dict(reversed(line.split()) for line in sums.read_text().splitlines())
    for name in (f"{split}/{file}" for split in SPLITS for file in (AUDIO, *TABLES)):
        path = require_file(speech_dir / name, "speech of the mini corpus", restore)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected.get(name):
            raise GmotError(
                f"{path}: sha256 {found}, expected {expected.get(name)} ({CHECKSUMS}). {restore}"
            )


def unpack(source: Path, target: Path, count: int) -> int:
    """Unpack the utterances of the first ``count`` sentences of a split.

    Args:
      source: folder with ``audio.tar``, ``text`` and ``utt2spk``.
      target: Kaldi-style folder, replaced if it exists; the audio goes to ``target/audio``.
      count: number of sentences.
    Returns:
      The number of utterances.
    """
    target = target.resolve()
    with atomic_path(target) as folder, tarfile.open(source / AUDIO) as archive:
        (folder / "audio").mkdir(parents=True)
        for table in TABLES:
            lines = (source / table).read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if sentence_number(line.split()[0]) <= count]
            (folder / table).write_text("".join(kept), encoding="utf-8")
        ids = [line.split()[0] for line in kept]
        for utterance in ids:
            audio = archive.extractfile(f"{utterance}.ogg")
            assert audio is not None
            (folder / "audio" / f"{utterance}.ogg").write_bytes(audio.read())
        (folder / "wav.scp").write_text(
            "".join(f"{utterance} {target}/audio/{utterance}.ogg\n" for utterance in ids),
            encoding="utf-8",
        )
    return len(ids)


def sentence_number(utterance: str) -> int:
    """Number of the sentence within its split: 12 in ``T02-train-00012``."""
    return int(utterance.rsplit("-", 1)[1])


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from corpus import SIZES

    speech_dir = Path(args.speech_dir)
    verify(speech_dir)
    for split in SPLITS:
        target = Path(args.output_dir) / split
        found = unpack(speech_dir / split, target, SIZES[args.size][split])
        logging.info("%s: %d utterances", target, found)


if __name__ == "__main__":
    run(main)
