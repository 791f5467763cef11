"""Proposal of units, scoring, model and training for a corpus, and the table that it is from."""

import math
import re
from dataclasses import dataclass

import numpy as np

from gmot.common import GmotError
from gmot.text.scripts import HAN, UNSPACED

MANDARIN_TEACHER = "bert-base-chinese"
TEACHER = "intfloat/multilingual-e5-small"  # of a hundred languages
SHORTEST = 0.3  # seconds of a training utterance
LIMITS = (20.0, 30.0)  # seconds, of which the first covers nearly all utterances
COVERED = 99.0  # per cent


@dataclass(frozen=True)
class Size:
    """Model and training for a number of hours of training speech.

    ``hours`` is the largest number; ``update`` the seconds of speech per update, ``masks`` time
    masks of at most ``frames`` frames, ``bpe`` the number of BPE units of an alphabetic language
    (0: characters).
    """

    hours: float
    d_model: int
    ffn_dim: int
    layers: int
    channels: int
    dropout: float
    epochs: int
    rate: float
    schedule: str
    warmup: int
    update: int
    masks: int
    frames: int
    bpe: int
    avg: int


# The first row is shared/conf/small.yaml with more epochs, the last one shared/conf/paper.yaml with
# fewer. Between them: 256 dimensions from some ten hours on (k2#875, icefall#1614; 12 blocks of 256
# in ESPnet's and wenet's recipes of 100 and 178 hours), updates of 100 to 600 s (icefall: 200 s per
# GPU), the masks of icefall from 50 hours on, and some 20,000 updates or more in the middle of a
# row. BPE: 500 as icefall from 50 h on, 150 as ESPnet for small corpora, characters where pieces
# would occur too rarely. Epochs count three copies (speeds 0.9, 1 and 1.1).
SIZES = (
    Size(1, 144, 576, 4, 32, 0.1, 40, 1.5e-3, "cosine", 500, 20, 2, 13, 0, 5),
    Size(10, 144, 576, 8, 32, 0.1, 30, 1.5e-3, "cosine", 1500, 40, 2, 20, 150, 5),
    Size(50, 256, 1024, 8, 64, 0.1, 30, 1e-3, "cosine", 5000, 100, 10, 50, 250, 10),
    Size(200, 256, 2048, 12, 256, 0.1, 30, 1e-3, "noam", 10000, 200, 10, 100, 500, 10),
    Size(math.inf, 256, 2048, 16, 256, 0.1, 30, 1e-3, "noam", 20000, 600, 10, 100, 500, 10),
)


@dataclass(frozen=True)
class Choices:
    """What a recipe starts with; all of it can be changed in its files."""

    language: str
    units: str
    vocab_size: int  # of bpe, else 0
    normalizer: str
    scoring: tuple[str, ...]
    homophones: bool
    teacher: str
    size: Size
    min_utterance: float
    max_utterance: float | None

    @property
    def unit_name(self) -> str:
        return f"bpe of {self.vocab_size}" if self.units == "bpe" else self.units


def choose_size(hours: float) -> Size:
    """Row of :data:`SIZES` for hours of training speech."""
    return next(size for size in SIZES if hours <= size.hours)


def check_language(code: str) -> str:
    """``code``; raises GmotError if it is not that of a language (BCP 47)."""
    if not re.fullmatch(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*", code):
        raise GmotError(f"--language {code}: expected a code such as en, zh, ru, pt-BR or zh-en.")
    return code.replace("_", "-")


def normalizer_of(language: str) -> str:
    """``module:function`` of the normaliser for a language."""
    primary = language.split("-")[0]
    name = "text" if primary in HAN else "english" if primary == "en" else "unicode"
    return f"gmot.text.normalize:normalize_{name}"


def choose(
    language: str, hours: float, durations: np.ndarray, teacher: str | None, switching: bool
) -> Choices:
    """Choices for a corpus.

    Args:
      language: code; the first part decides.
      hours: of training speech.
      durations: of the training utterances, in seconds.
      teacher: folder or hub name; None: one of the language.
      switching: whether words of Latin letters and unspaced text occur together.
    """
    size = choose_size(hours)
    primary = language.split("-")[0]
    unspaced = primary in UNSPACED
    units, vocab_size = ("characters", 0) if unspaced or not size.bpe else ("bpe", size.bpe)
    scoring: tuple[str, ...] = ("words", "characters")
    if unspaced:
        scoring = ("mixed", "characters") if switching else ("characters",)
    longest = float(durations.max(initial=0.0))
    usual = float(np.percentile(durations, COVERED)) if len(durations) else 0.0
    limit = next((limit for limit in LIMITS if usual <= limit), LIMITS[-1])
    return Choices(
        language=language,
        units=units,
        vocab_size=vocab_size,
        normalizer=normalizer_of(language),
        scoring=scoring,
        homophones=primary == "zh",
        teacher=teacher or (MANDARIN_TEACHER if primary == "zh" else TEACHER),
        size=size,
        min_utterance=SHORTEST,
        max_utterance=limit if longest > limit else None,
    )


def size_table() -> str:
    """:data:`SIZES` as a table (docs/corpora.md)."""
    lines = [
        "| hours of training speech | blocks x dimension | epochs | seconds per update | highest "
        "learning rate, warm-up | time masks | units (alphabetic) | averaged epochs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lowest = 0.0
    for size in SIZES:
        hours = f"{lowest:g} to {size.hours:g}" if size.hours < math.inf else f"above {lowest:g}"
        lines.append(
            f"| {hours} | {size.layers} x {size.d_model} | {size.epochs} | {size.update} | "
            f"{size.rate:g}, {size.warmup:,} updates ({size.schedule}) | {size.masks} of "
            f"{size.frames} frames | {f'bpe {size.bpe}' if size.bpe else 'characters'} | "
            f"{size.avg} |"
        )
        lowest = size.hours
    return "\n".join(lines)
