"""Couplings of tiny trained models against word times, by the command."""

import pytest
import toy_training
from toy_training import run, script, train_options

from gmot.common import read_json

pytest.importorskip("transformers")
TEXTS = ("今天好", "天气好", "今天天气好", "今天", "好天气", "天天好")
SYSTEMS = ("ctc", "gm_ot", "hcm")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three systems of two epochs, and the word times of dev, in equal parts."""
    folder = tmp_path_factory.mktemp("truth")
    toy_training.prepare(folder, {"train": TEXTS, "dev": TEXTS})
    for row in SYSTEMS:
        run(folder, train_options(row, "--training.num-epochs", "2", exp=f"exp/{row}"))
    lines = []
    for i, text in enumerate(TEXTS):
        part = (1 + 0.25 * (i % 5)) / len(text)
        lines += [f"dev{i:02d} 1 {n * part:.3f} {part:.3f} {c}" for n, c in enumerate(text)]
    (folder / "words.ctm").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def measure(folder, *options, ctm="words.ctm"):
    return script(
        *("coupling_truth", "--exp-dirs", *(f"exp/{row}" for row in SYSTEMS)),
        *("--fbank-dir", "fbank", "--prefix", "toy", "--lang-dir", "lang", "--teacher", "bert"),
        *("--split", "dev", "--ctm", ctm, "--output", "truth", *options),
        cwd=folder,
    )


def test_measures_of_all_systems_and_epochs(trained):
    done = measure(trained)
    assert done.returncode == 0, done.stderr
    found = read_json(trained / "truth.json")
    assert found["utterances"] == 6 and found["excluded"] == {}
    for row in SYSTEMS:
        assert list(found["systems"][row]) == ["1", "2"]
        for sources in found["systems"][row].values():
            assert set(sources) == {"ctc", "ctc_divided", *(["plan"] if row != "ctc" else [])}
            for values in sources.values():
                assert 0 <= values["share"] <= 1 and values["tokens"] == sum(map(len, TEXTS))
                assert 0 <= values["boundary_median_ms"] < 1500
    # The words are equal parts, and the diagonal plan's tokens nearly.
    assert found["references"]["diagonal"]["share"] > 2 * found["references"]["uniform"]["share"]
    table = (trained / "truth.md").read_text(encoding="utf-8")
    assert table.count("\n| ") == 1 + 1 + 6 + 2 - 1 and "| gm_ot" in table
    assert (trained / "truth.png").stat().st_size > 10000


def test_utterances_with_other_words_are_excluded_and_counted(trained):
    lines = (trained / "words.ctm").read_text(encoding="utf-8").splitlines()
    changed = [line.replace("气", "汽") if line.startswith("dev01") else line for line in lines]
    kept = [line for line in changed if not line.startswith("dev03")]
    late = [line.replace(" 1 0.000 ", " 1 9.000 ") if "dev00" in line else line for line in kept]
    (trained / "other.ctm").write_text("\n".join(late), encoding="utf-8")
    done = measure(trained, "--epochs", "2", ctm="other.ctm")
    assert done.returncode == 0, done.stderr
    found = read_json(trained / "truth.json")
    assert found["utterances"] == 3
    assert found["excluded"]["dev01"] == "its words are not those of the transcript"
    assert found["excluded"]["dev03"] == "no word times"
    assert set(found["excluded"]) == {"dev00", "dev01", "dev03"}
    assert "1 utterances excluded: no word times; the first: dev03" in done.stderr
    assert "3 utterances, 3 excluded" in done.stdout


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--epochs", "1", "7"], ["--epochs [7] have no checkpoint, found [1, 2]", "keep_last"]),
        (["--ctm", "none.ctm"], ["Word times", "none.ctm is not there"]),
        (["--ctm", "empty.ctm"], ["none is usable: no word times (dev00)"]),
        (["--exp-dirs", "exp/ctc", "exp/../exp/ctc"], ["two of the name 'ctc'"]),
        (["--exp-dirs", "lang"], ["lang: no epoch-N.pt in it"]),
    ],
)
def test_wrong_inputs_are_one_line(trained, options, messages):
    (trained / "empty.ctm").write_text("other 1 0 1 word\n")
    done = measure(trained, *options)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert all(message in error for message in messages), done.stderr
