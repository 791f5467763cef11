"""Tables of experiments with several training seeds."""

import statistics

import pytest

from gmot.common import GmotError, write_json
from gmot.evaluation.report import summarize
from gmot.evaluation.seeds import mean_and_spread, pool_seeds

TRANSFER = {"objective": "none"}


def score(rate, **more):
    return {
        **{"rate": rate, "intervals": {"utterance": [rate - 1, rate + 1]}, "ref_len": 400},
        **{"num_utterances": 50, "num_speakers": 4, "num_empty": 0, "ins": 1, "del": 2, "sub": 3},
        **more,
    }


def record(seed, cer=10.0, split="test", method="1best", **more):
    return {
        **{"split": split, "method": method, "epoch": 8, "avg": 3, "seed": seed},
        **{"scores": {"CER": score(cer)}, "transfer": TRANSFER},
        **{"audio_seconds": 60, "rtf_encoder": 0.1 * seed},
        **{"rtf_decoding": 0.5, "peak_memory_mb": 700.0, "device": "cpu, 1 threads", **more},
    }


@pytest.fixture
def table(tmp_path):
    """Summary of records by experiment: printed table, and RESULTS.md."""

    def made(**experiments):
        for name, records in experiments.items():
            write_json(tmp_path / name / "results.json", records)
        output = tmp_path / "RESULTS.md"
        printed = summarize(tmp_path, list(experiments), None, None, output, "Seeds")
        return printed, output.read_text(encoding="utf-8")

    return made


def cells(text):
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[1]: row[2:] for row in rows if row[0] == "1best"}


def test_one_row_per_experiment_with_mean_and_spread(table):
    rates = {1: 10.0, 2: 11.0, 3: 12.6}
    seeds = {
        f"gm_ot_seed{s}": [record(s, cer, "dev"), record(s, cer + 1)] for s, cer in rates.items()
    }
    printed, text = table(ctc=[record(42, 20.0, "dev"), record(42, 21.0)], **seeds)
    spread = f"{statistics.stdev(rates.values()):.2f}"
    assert cells(printed) == {
        "ctc": ["20.00 (19.00 .. 21.00)", "21.00 (20.00 .. 22.00)"],
        "gm_ot (3 seeds)": [f"11.20 ± {spread}", f"12.20 ± {spread}"],
    }
    told = next(line for line in printed.splitlines() if "deviation of test" in line)
    assert all(fact in told for fact in ("3 training seeds (1, 2, 3)", "conditional on", "4 speak"))
    assert "95% intervals of test" in printed and "one training seed" in printed
    speed = text[text.index("## Speed") : text.index("## Details")]
    assert cells(speed)["gm_ot"][0] == "0.20000"  # over all seeds
    details = cells(text[text.index("## Details") :])
    assert details["gm_ot_seed2"] == ["11.00 (10.00 .. 12.00)", "12.00 (11.00 .. 13.00)"]
    assert all(f"### {name}\n" in text for name in ("ctc", *seeds))


def test_the_default_seed_is_one_of_an_experiment(table):
    printed, _ = table(ctc=[record(42)], ctc_seed1=[record(1, 12.0)])
    assert list(cells(printed)) == ["ctc (2 seeds)"]
    assert "(42, 1)" in printed


def test_the_seed_may_be_anywhere_in_a_name():
    chosen = {f"gm_ot_seed{s}-pretrained": [record(s)] for s in (1, 12)}
    assert list(pool_seeds(chosen)) == ["gm_ot-pretrained"]


def test_single_trainings_keep_their_names():
    chosen = {"gm_ot_seed1": [record(1)], "ctc_seed1": [record(1)], "hcm_seed12": [record(1)]}
    assert list(pool_seeds(chosen)) == list(chosen)
    assert list(pool_seeds({**chosen, "hcm": [record(2)]})) == [*chosen, "hcm"]


@pytest.mark.parametrize(
    ("other", "fact"),
    [
        (record(2, epoch=7), "epoch"),
        (record(2, transfer={"objective": "gm_ot"}), "transfer"),
        (record(2, average="ema"), "average"),
        (record(2, split="dev"), "splits"),
    ],
)
def test_seeds_with_other_conditions_are_refused(other, fact):
    with pytest.raises(GmotError, match=f"x_seed1 and x_seed2.*{fact}"):
        pool_seeds({"x_seed1": [record(1)], "x_seed2": [other]})


def test_the_spread_is_that_of_a_sample():
    assert mean_and_spread([10.0, 12.0]) == "11.00 ± 1.41"


@pytest.mark.parametrize(
    ("average", "told"),
    [("ema", "running average of the weights at epoch 8"), ("best", "3 epochs of lowest dev loss")],
)
def test_the_weights_of_a_result_are_told(table, average, told):
    _, text = table(ctc=[record(1, average=average)])
    assert f"- {told}" in text
