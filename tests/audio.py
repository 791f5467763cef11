"""Small corpora of real audio files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

TEXTS = ["今天天气很好", "他在电店买电", "她 坐 车 去", "AB 十一"]


def tone(seconds: float, frequency: float = 500.0, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """A sine in a little noise, (samples,) in [-1, 1]."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=len(time))
    return 0.3 * np.sin(2 * np.pi * frequency * time) + 0.001 * noise


def write_part(
    folder: Path,
    durations: Sequence[float],
    prefix: str = "utt",
    frequency: float = 500.0,
    rate: int = 16000,
) -> dict[str, str]:
    """A Kaldi-style folder with paths relative to it; returns id -> text."""
    (folder / "wav").mkdir(parents=True)
    texts = {}
    for i, seconds in enumerate(durations):
        key = f"{prefix}{i:03d}"
        texts[key] = TEXTS[i % len(TEXTS)]
        soundfile.write(folder / "wav" / f"{key}.wav", tone(seconds, frequency, rate, i), rate)
    (folder / "wav.scp").write_text("".join(f"{key} wav/{key}.wav\n" for key in texts))
    (folder / "text").write_text(
        "".join(f"{key} {text}\n" for key, text in texts.items()), encoding="utf-8"
    )
    return texts
