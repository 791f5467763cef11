"""Each thing that can be wrong with a part is named with its utterance."""

import gzip
import json
import logging

import pytest

from gmot.common import GmotError
from gmot.data.validate import compare_size, validate_cuts


def change(fbank, edit):
    path = fbank / "toy_cuts_dev.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    edit(records)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_statistics_of_a_good_split(fbank):
    statistics = validate_cuts(fbank, "toy", "dev")
    assert statistics.utterances == 3
    assert statistics.hours * 3600 == pytest.approx(0.7 + 1.0 + 0.5)
    assert statistics.seconds["shortest"] == 0.5 and statistics.seconds["longest"] == 1.0
    assert statistics.seconds["50 %"] == 0.7
    assert statistics.characters == 6 + 6 + 4
    for fact in ("3 utterances", "16 characters", "longest 1.00", "99 % 0.99"):
        assert fact in str(statistics)


def test_sizes_are_compared_without_copies_of_other_speeds(fbank, caplog):
    statistics = validate_cuts(fbank, "toy", "train")
    assert statistics.utterances == 18 and statistics.originals == (6, 1, 32)
    for expected in ("6", "6:1", "6:1:32"):
        assert compare_size("train", statistics, expected, strict=True)
    assert not compare_size("train", statistics, "7:1:31")
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    for fact in ("'train'", "6 utterances", "7", "32 characters", "31"):
        assert fact in record.getMessage()
    assert "speakers" not in record.getMessage()
    with pytest.raises(GmotError, match="--strict"):
        compare_size("train", statistics, "120098:340", strict=True)
    for malformed in ("", "many", "6:", "1:2:3:4"):
        with pytest.raises(GmotError, match=f"--expect train={malformed}"):
            compare_size("train", statistics, malformed)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda r: r[1]["supervisions"][0].update(text=" "), "d001: empty text"),
        (lambda r: r[1]["supervisions"].pop(), "d001: 0 supervisions"),
        (lambda r: r[1]["supervisions"].append(r[0]["supervisions"][0]), "d001: 2 supervisions"),
        (
            lambda r: r[1]["supervisions"][0].update(duration=1.1),
            "d001: supervision from 0.* to 1.1",
        ),
        (lambda r: r[2].update(id="d001"), "d001: occurs more than once"),
        (lambda r: r[0]["features"].update(num_features=40), "d000: 40 bins, expected 80"),
        (lambda r: r[0].update(duration=0.3), "d000: features of 0.7 s for 0.3 s"),
        (lambda r: r[0]["features"].update(storage_path="no"), "d000: no features: .*no"),
        (
            lambda r: r[0]["features"].update(storage_key="17500:70:80"),
            "d000: .*shard-000.f16",
        ),
    ],
)
def test_what_is_wrong_is_named(fbank, edit, message):
    change(fbank, edit)
    with pytest.raises(GmotError, match=message):
        validate_cuts(fbank, "toy", "dev")


def test_another_rate_and_an_empty_manifest(fbank):
    with pytest.raises(GmotError, match="d000: sampling rate 16000 Hz, expected 8000 Hz"):
        validate_cuts(fbank, "toy", "dev", sampling_rate=8000)
    change(fbank, lambda records: records.clear())
    with pytest.raises(GmotError, match="toy_cuts_dev"):
        validate_cuts(fbank, "toy", "dev")
