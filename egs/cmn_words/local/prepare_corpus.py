#!/usr/bin/env python3
"""Make Kaldi-style folders train, dev and test of recorded Mandarin words.

CORPUS is a checkout of github.com/hugolpz/audio-cmn, whose 64k/hsk/cmn-WORD.mp3
become 16 kHz FLAC files (names of sentence patterns, such as cmn-WORD_WORD_, are
left out), or a Kaldi-style folder of all words. Of each 20 words in the order of
their names 18 go to train, the next to dev and the last to test.
"""

import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, PositiveInt, run  # noqa: E402

RECORDINGS = "64k/hsk"
SPEAKER = "yue_tan"
SAMPLING_RATE = 16000
PERIOD = 20
SPLITS = {"train": range(0, 18), "dev": range(18, 19), "test": range(19, 20)}


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus-dir", required=True, help=f"has {RECORDINGS}/, or wav.scp")
    parser.add_argument("--output-dir", required=True, help="gets {train,dev,test}/ and wav/")
    parser.add_argument("--num-jobs", type=PositiveInt, default=4, help="files at a time")
    return parser


def convert(source: Path, target: Path) -> None:
    """Decode an audio file, mix it to one channel and write it at 16 kHz.

    Raises:
      GmotError: it cannot be decoded, or is empty.
    """
    import math

    import soundfile
    from scipy.signal import resample_poly

    from gmot.common import GmotError

    try:
        samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise GmotError(f"{source}: {error}. Check the file out again.") from None
    if len(samples) == 0:
        raise GmotError(f"{source}: no samples. Check the file out again.")
    common = math.gcd(rate, SAMPLING_RATE)
    mixed = resample_poly(samples.mean(1), SAMPLING_RATE // common, rate // common)
    soundfile.write(target, mixed.clip(-1, 1), SAMPLING_RATE)


def read_recordings(folder: Path, wav_dir: Path, num_jobs: int) -> dict[str, dict[str, str]]:
    """Convert the recordings of a checkout; wav.scp, text and utt2spk by utterance.

    Raises:
      GmotError: there are none, or one cannot be decoded.
    """
    from gmot.common import GmotError

    files = sorted(folder.glob("cmn-*.mp3"))
    words = {path: path.stem.removeprefix("cmn-") for path in files}
    words = {path: word for path, word in words.items() if "_" not in word}
    if not words:
        raise GmotError(f"{folder}: no cmn-WORD.mp3. Check the repository out again.")
    wav_dir.mkdir(parents=True)
    names = [f"word-{i:05d}" for i in range(len(words))]
    with ThreadPoolExecutor(num_jobs) as pool:
        list(pool.map(convert, words, [wav_dir / f"{name}.flac" for name in names]))
    return {
        "wav.scp": {name: f"wav/{name}.flac" for name in names},
        "text": dict(zip(names, words.values())),
        "utt2spk": dict.fromkeys(names, SPEAKER),
    }


def read_kaldi(folder: Path) -> dict[str, dict[str, str]]:
    """Tables of a Kaldi-style folder, with absolute paths of the audio.

    Raises:
      GmotError: wav.scp or text is missing.
    """
    from gmot.common import require_file
    from gmot.data.kaldi import read_table

    remedy = f"Give a folder with {RECORDINGS}/, or with wav.scp and text (--corpus-dir)."
    tables = {
        name: read_table(require_file(folder / name, f"{name} of cmn_words", remedy))
        for name in ("wav.scp", "text")
    }
    tables["wav.scp"] = {key: str(folder / path) for key, path in tables["wav.scp"].items()}
    for name in ("segments", "utt2spk"):
        if (folder / name).exists():
            tables[name] = read_table(folder / name)
    return tables


def write_table(path: Path, table: dict[str, str], keys: Iterable[str]) -> None:
    from gmot.common import write_lines

    write_lines(path, [f"{key} {table[key]}" for key in keys if key in table])


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import atomic_path

    corpus = Path(args.corpus_dir).absolute()
    with atomic_path(args.output_dir) as output:
        if (corpus / RECORDINGS).is_dir():
            tables = read_recordings(corpus / RECORDINGS, output / "wav", args.num_jobs)
            tables["wav.scp"] = {key: f"../{path}" for key, path in tables["wav.scp"].items()}
        else:
            tables = read_kaldi(corpus)
        for split, positions in SPLITS.items():
            names = [n for i, n in enumerate(sorted(tables["text"])) if i % PERIOD in positions]
            recordings = names
            if "segments" in tables:
                segments = tables["segments"]
                recordings = sorted({segments[n].split()[0] for n in names if n in segments})
            (output / split).mkdir(parents=True)
            for table, content in tables.items():
                keys = recordings if table == "wav.scp" else names
                write_table(output / split / table, content, keys)
            logging.info("%s: %d words", split, len(names))


if __name__ == "__main__":
    run(main)
