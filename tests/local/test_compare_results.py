"""compare_results.py, as users run it."""

import subprocess
import sys
from pathlib import Path

import pytest

from gmot.evaluation.files import update_results, write_recogs

ROOT = Path(__file__).resolve().parents[2]
REFS = {"u1": "今天天气好", "u2": "你好"}
HYPS = {"ctc": {"u1": "今天气很好", "u2": "你号"}, "ours": {"u1": "今天天气好", "u2": "你"}}


def run(*arguments, cwd):
    result = subprocess.run(
        [sys.executable, str(ROOT / "local/compare_results.py"), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def exp(tmp_path):
    for experiment, hyps in HYPS.items():
        path = tmp_path / experiment / "1best" / "recogs-test-epoch-2-avg-1.txt"
        write_recogs(path, REFS, hyps)
        record = {"split": "test", "method": "1best", "epoch": 2, "avg": 1, "cer": 1.0}
        update_results(tmp_path / experiment / "results.json", [record])
    return tmp_path


def test_files_and_folders_give_the_same(exp):
    files = [f"{experiment}/1best/recogs-test-epoch-2-avg-1.txt" for experiment in HYPS]
    status, lines, err = run(*files, "--output", "out/table.md", cwd=exp)
    assert status == 0, err
    first, second, how = lines.splitlines()
    assert "resampling 2 utterances of unknown speakers" in how and "Holm" not in how
    assert first.startswith("ctc: %CER 42.86 (")
    assert second.startswith("ours: %CER 14.29 (") and "difference -28.57 (" in second
    assert "probability of improvement 0." in second
    text = (exp / "out/table.md").read_text(encoding="utf-8")
    assert "7 characters of 2 utterances" in text and files[1] in text
    assert "10000 resamplings, seed 0" in text
    assert [row.split(" | ")[0].strip("| ") for row in text.splitlines() if "|" in row][2:] == [
        *HYPS
    ]
    arguments = ("--exp-dirs", *HYPS, "--split", "test", "--method", "1best")
    assert run(*arguments, cwd=exp)[1] == lines


def test_words_and_homophones(tmp_path):
    for name, hyp in (("a", "the cat"), ("b", "the bat")):
        write_recogs(tmp_path / f"{name}.txt", {"u": "the cat"}, {"u": hyp})
    files = ("a.txt", "b.txt", "--scoring", "words", "characters")
    status, lines, err = run(*files, cwd=tmp_path)
    assert status == 0, err
    assert [line.split(" (")[0] for line in lines.splitlines() if ": %" in line] == [
        *("a.txt: %WER 0.00", "b.txt: %WER 50.00", "a.txt: %CER 0.00", "b.txt: %CER 16.67")
    ]
    status, _, err = run(*files[:4], "--homophones", cwd=tmp_path)
    assert status == 1 and "--homophones" in err and "characters or mixed" in err


def write_seeds(folder, speakers):
    """Two experiments with three and two seeds."""
    refs = {f"s{i % 4}-{i}": "今天天气好" for i in range(12)}
    for experiment, seeds in (("a", 3), ("b", 2)):
        for seed in range(seeds):
            wrong = {"a": 2, "b": 3}[experiment] + seed
            hyps = {
                u: "坏" + t[1:] if i % 5 < wrong else t for i, (u, t) in enumerate(refs.items())
            }
            owners = {u: u[:2] for u in refs if speakers(u)}
            write_recogs(folder / f"{experiment}{seed}.txt", refs, hyps, owners)
    return [f"a{seed}.txt" for seed in range(3)], [f"b{seed}.txt" for seed in range(2)]


def test_seeds_are_pooled_and_speakers_resampled(tmp_path):
    a, b = write_seeds(tmp_path, lambda utterance: True)
    arguments = (*a, "--against", *b, "--unit", "speaker", "--output", "table.md")
    status, lines, err = run(*arguments, cwd=tmp_path)
    assert status == 0, err
    first, second, how = lines.splitlines()
    assert "per seed" in first and "per seed" in second and "difference +" in second
    for text in (how, (tmp_path / "table.md").read_text(encoding="utf-8")):
        assert "3 and 2 training seeds and 4 speakers with their 12 utterances" in text
    status, lines, err = run(*a[:1], *b, "--unit", "speaker", cwd=tmp_path)
    assert status == 0, err
    _, second, third, how = lines.splitlines()
    assert ", corrected " in second and ", corrected " in third and "one training seed" in how


def test_results_without_speakers_are_refused(tmp_path):
    a, b = write_seeds(tmp_path, lambda utterance: utterance != "s3-7")
    status, _, err = run(*a, "--against", *b, "--unit", "speaker", cwd=tmp_path)
    assert status == 1 and len(err.splitlines()) == 1
    assert "a0.txt" in err and "'s3-7'" in err and "local/decode.py" in err
    assert run(*a, "--against", *b, cwd=tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either recogs files or --exp-dirs"),
        (("a.txt", "--exp-dirs", "ctc", "ours"), "either recogs files or --exp-dirs"),
        (("--exp-dirs", "ctc"), "1 experiments"),
        (("--exp-dirs", "ctc", "theirs"), "'theirs'"),
        (("--exp-dirs", "ctc", "ours", "--method", "nbest"), "test by nbest"),
        (("a.txt", "b.txt"), "a.txt"),
        (("--exp-dirs", "ctc", "--against", "theirs"), "'theirs'"),
        (("--exp-dirs", "ctc", "ours", "--unit", "word"), "'word'"),
        (("--exp-dirs", "ctc", "ours", "--seed", "-1"), "--seed"),
    ],
)
def test_bad_options_are_refused(exp, arguments, message):
    status, _, err = run(*arguments, cwd=exp)
    assert status in (1, 2)
    assert message in err.splitlines()[-1]
