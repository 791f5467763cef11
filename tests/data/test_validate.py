"""Each thing that can be wrong with a part is named with its utterance."""

import gzip
import json

import pytest

from gmot.common import GmotError
from gmot.data.validate import validate_cuts


def change(fbank, edit):
    path = fbank / "toy_cuts_dev.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    edit(records)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_statistics_of_a_good_part(fbank):
    statistics = validate_cuts(fbank, "toy", "dev")
    assert statistics.utterances == 3
    assert statistics.hours * 3600 == pytest.approx(0.7 + 1.0 + 0.5)
    assert (statistics.shortest, statistics.longest) == (0.5, 1.0)
    assert statistics.percentiles[2] == 0.7  # the median
    assert statistics.characters == 6 + 6 + 4
    assert "3 utterances" in str(statistics)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda r: r[1]["supervisions"][0].update(text=" "), "d001: its text is empty"),
        (lambda r: r[1]["supervisions"].pop(), "d001: 0 supervisions"),
        (lambda r: r[1]["supervisions"].append(r[0]["supervisions"][0]), "d001: 2 supervisions"),
        (lambda r: r[1]["supervisions"][0].update(duration=1.1), "d001: its supervision is from"),
        (lambda r: r[2].update(id="d001"), "d001: occurs more than once"),
        (lambda r: r[0]["features"].update(num_features=40), "d000: 40 bins, expected 80"),
        (lambda r: r[0].update(duration=0.3), "d000: features of 0.7 s for 0.3 s"),
        (lambda r: r[0]["features"].update(storage_path="no"), "d000: its features are not there"),
        (
            lambda r: r[0]["features"].update(storage_key="17500:70:80"),
            "d000: its features lie beyond the end",
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
    with pytest.raises(GmotError, match="holds no utterance"):
        validate_cuts(fbank, "toy", "dev")
