#!/usr/bin/env python3
"""Make Kaldi-style folders of the festvox-ru voice: train, dev and test.

Each gets wav.scp, text (without the stress marks), utt2spk and words.ctm, the
times of the words: 'utterance 1 start duration word', in seconds, words as by
gmot.text.normalize:normalize_unicode. Of each 31 utterances in the order of
their names 24 go to train, the next 3 to dev and the last 4 to test.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, run  # noqa: E402

PERIOD = 31
SPLITS = {"train": range(0, 24), "dev": range(24, 27), "test": range(27, 31)}
SPEAKER = "nsh"
SENTENCE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "--voice-dir", required=True, help="folder with wav/, lab/ and etc/txt.done.data"
    )
    parser.add_argument("--output-dir", required=True, help="gets {train,dev,test}/")
    return parser


def read_sentences(path: Path) -> dict[str, str]:
    """Transcripts by utterance, in the order of the names, without stress marks (``+``).

    Raises:
      GmotError: the file is missing or empty, or a line is malformed.
    """
    from gmot.common import GmotError, read_utf8, require_file

    require_file(path, "list of the sentences", "Give the folder of the voice (--corpus-dir).")
    sentences = {}
    for number, line in enumerate(read_utf8(path).splitlines(), 1):
        if not line.strip():
            continue
        found = SENTENCE.fullmatch(line.strip())
        if not found:
            raise GmotError(
                f"{path}, line {number}: '{line[:60]}'; expected ( name \"text\" ). "
                "Unpack the package again."
            )
        sentences[found[1]] = found[2].replace("+", "")
    if not sentences:
        raise GmotError(f"{path}: no sentences. Unpack the package again.")
    return dict(sorted(sentences.items()))


def read_phones(path: Path) -> tuple[list[str], list[float]]:
    """Phones of a label file (``end 125 phone`` after a line ``#``) and their end times, seconds.

    Raises:
      ValueError: malformed, or times that go back.
    """
    phones, ends = [], []
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines[lines.index("#") + 1 :]:
        if line.strip():
            end, _, phone = line.split()
            phones.append(phone)
            ends.append(float(end))
    if ends != sorted(ends):
        raise ValueError("times go back")
    return phones, ends


def word_times(path: Path, words: Sequence[str]) -> list[tuple[float, float, str]] | str:
    """Start, duration and word, in seconds; or why there are none."""
    from word_times import MAX_COST, align_words

    try:
        phones, ends = read_phones(path)
    except (OSError, ValueError) as error:
        return f"{path}: {error}"
    aligned = align_words(words, phones)
    if aligned is None or aligned[1] > MAX_COST:
        return f"{path}: phones and spelling differ"
    times = []
    for word, (first, last) in zip(words, aligned[0]):
        start = ends[first - 1] if first else 0.0
        times.append((start, ends[last - 1] - start, word))
    return times


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import atomic_path, write_lines
    from gmot.text.normalize import normalize_unicode

    voice = Path(args.voice_dir).absolute()
    sentences = read_sentences(voice / "etc" / "txt.done.data")
    with atomic_path(args.output_dir) as output:
        for split, positions in SPLITS.items():
            names = [n for i, n in enumerate(sentences) if i % PERIOD in positions]
            folder = output / split
            folder.mkdir(parents=True)
            write_lines(folder / "wav.scp", [f"{n} {voice / 'wav' / n}.wav" for n in names])
            write_lines(folder / "text", [f"{n} {sentences[n]}" for n in names])
            write_lines(folder / "utt2spk", [f"{n} {SPEAKER}" for n in names])
            ctm, without = [], []
            for name in names:
                words = normalize_unicode(sentences[name]).split()
                times = word_times(voice / "lab" / f"{name}.lab", words)
                if isinstance(times, str):
                    without.append(times)
                    continue
                ctm += [f"{name} 1 {start:.3f} {length:.3f} {w}" for start, length, w in times]
            write_lines(folder / "words.ctm", ctm)
            logging.info(
                "%s: %d utterances, words.ctm: %d words of %d utterances",
                *(split, len(names), len(ctm), len(names) - len(without)),
            )
            for reason in without:
                logging.warning("left out of words.ctm: %s", reason)


if __name__ == "__main__":
    run(main)
