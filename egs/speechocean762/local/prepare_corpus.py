#!/usr/bin/env python3
"""Make Kaldi-style folders train, dev and test of speechocean762, and groups by age.

The corpus has train and test. Every tenth speaker of train, of the children and
of the adults in the order of their names, becomes dev. The file 'groups' has a
line 'speaker child' (younger than 16) or 'speaker adult' per speaker: the
speakers are 6 to 15 or 19 to 43 years old.
"""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, run  # noqa: E402

ADULT = 16  # years
DEV_SHARE = 10  # one of so many speakers


class Part(NamedTuple):
    """Tables of a folder of the corpus, by utterance or speaker."""

    wavs: dict[str, str]
    texts: dict[str, str]
    speakers: dict[str, str]
    groups: dict[str, str]


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus-dir", required=True, help="folder with WAVE/, train/ and test/")
    parser.add_argument("--output-dir", required=True, help="gets {train,dev,test}/ and groups")
    return parser


def read_part(folder: Path) -> Part:
    """Read wav.scp, text, utt2spk and spk2age.

    Raises:
      GmotError: a file is missing, an utterance has no speaker, or a speaker no age.
    """
    from gmot.common import GmotError, require_file
    from gmot.data.kaldi import read_table

    remedy = "Give the folder that has WAVE/, train/ and test/ (--corpus-dir)."
    wavs, texts, speakers, ages = (
        read_table(require_file(folder / name, f"{name} of speechocean762", remedy))
        for name in ("wav.scp", "text", "utt2spk", "spk2age")
    )
    groups = {}
    for utterance in wavs:
        speaker = speakers.get(utterance, "")
        age = ages.get(speaker, "")
        if not age.isdecimal():
            raise GmotError(
                f"{folder}: utterance {utterance}: speaker '{speaker}' (utt2spk), age '{age}' "
                "(spk2age); expected a speaker and years. Unpack the corpus again."
            )
        groups[speaker] = "adult" if int(age) >= ADULT else "child"
    return Part(wavs, texts, speakers, groups)


def dev_speakers(groups: dict[str, str]) -> set[str]:
    """Every tenth child and every tenth adult, at least one of each that there is."""
    names = {g: sorted(s for s, group in groups.items() if group == g) for g in ("child", "adult")}
    return {speaker for group in names.values() for speaker in group[::DEV_SHARE]}


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.common import GmotError, atomic_path, write_lines

    corpus = Path(args.corpus_dir).absolute()
    train, test = read_part(corpus / "train"), read_part(corpus / "test")
    shared = sorted(train.groups.keys() & test.groups.keys())
    if shared:
        raise GmotError(
            f"{corpus}: {len(shared)} speakers in train and in test ({', '.join(shared[:5])}). "
            "Unpack the corpus again."
        )
    dev = dev_speakers(train.groups)
    splits = {
        "train": (train, train.groups.keys() - dev),
        "dev": (train, dev),
        "test": (test, set(test.groups)),
    }
    with atomic_path(args.output_dir) as output:
        for split, (part, speakers) in splits.items():
            names = [u for u in sorted(part.wavs) if part.speakers[u] in speakers]
            folder = output / split
            folder.mkdir(parents=True)
            write_lines(folder / "wav.scp", [f"{u} {corpus / part.wavs[u]}" for u in names])
            write_lines(folder / "text", [f"{u} {part.texts.get(u, '')}".rstrip() for u in names])
            write_lines(folder / "utt2spk", [f"{u} {part.speakers[u]}" for u in names])
            counts = [sum(part.groups[s] == g for s in speakers) for g in ("adult", "child")]
            logging.info("%s: %d utterances, %d adults and %d children", split, len(names), *counts)
        groups = {**train.groups, **test.groups}
        write_lines(output / "groups", [f"{s} {g}" for s, g in sorted(groups.items())])


if __name__ == "__main__":
    run(main)
