"""What is proposed for a language and a number of hours."""

from pathlib import Path

import numpy as np
import pytest

from gmot.common import GmotError
from gmot.corpus.proposal import SIZES, check_language, choose, choose_size, size_table

ROOT = Path(__file__).resolve().parents[2]


def choices(language, hours, switching=False, durations=(3.0,), teacher=None):
    return choose(language, hours, np.array(durations), teacher, switching)


@pytest.mark.parametrize(
    ("language", "hours", "units", "normalizer", "scoring"),
    [
        ("zh", 100, "characters", "normalize_text", ("characters",)),
        ("ja", 5, "characters", "normalize_text", ("characters",)),
        ("th", 50, "characters", "normalize_unicode", ("characters",)),
        ("en", 0.5, "characters", "normalize_english", ("words", "characters")),
        ("en-GB", 5, "bpe", "normalize_english", ("words", "characters")),
        ("und-Cyrl", 500, "bpe", "normalize_unicode", ("words", "characters")),
        ("ko", 20, "bpe", "normalize_unicode", ("words", "characters")),
    ],
)
def test_units_normaliser_and_scoring_of_a_language(language, hours, units, normalizer, scoring):
    found = choices(language, hours)
    assert (found.units, found.scoring) == (units, scoring)
    assert found.normalizer.endswith(f":{normalizer}")
    assert (found.vocab_size > 0) == (units == "bpe")


def test_code_switching_is_scored_by_mixed_units():
    found = choices("zh-en", 10, switching=True)
    assert found.scoring == ("mixed", "characters") and found.homophones
    assert not choices("en", 10).homophones


def test_limits_cover_nearly_all_utterances():
    assert choices("en", 1, durations=[3, 15]).max_utterance is None
    assert choices("en", 1, durations=[3] * 999 + [60]).max_utterance == 20
    assert choices("en", 1, durations=[25] * 999 + [60]).max_utterance == 30


@pytest.mark.parametrize("hours", [0, 0.01, 1, 1.01, 10, 49.9, 200, 201, 1e5])
def test_every_number_of_hours_has_a_size(hours):
    size = choose_size(hours)
    assert hours <= size.hours and size in SIZES
    assert size.d_model % 4 == 0 and size.avg <= size.epochs


@pytest.mark.parametrize("code", ["english", "EN", "e", "en_", "zh en"])
def test_no_code_of_a_language(code):
    with pytest.raises(GmotError, match=r"en, zh"):
        check_language(code)


def test_the_table_stands_in_the_documentation():
    assert size_table() in (ROOT / "docs" / "corpora.md").read_text(encoding="utf-8")
