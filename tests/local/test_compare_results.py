"""compare_results.py, as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from gmot.result_files import update_results, write_recogs

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
    for system, hyps in HYPS.items():
        path = tmp_path / system / "1best" / "recogs-test-epoch-2-avg-1.txt"
        write_recogs(path, REFS, hyps)
        record = {"part": "test", "method": "1best", "epoch": 2, "avg": 1, "cer": 1.0}
        update_results(tmp_path / system / "results.json", [record])
    return tmp_path


def test_files_and_folders_give_the_same(exp):
    files = [f"{system}/1best/recogs-test-epoch-2-avg-1.txt" for system in HYPS]
    status, lines, err = run(*files, "--output", "out/table.md", cwd=exp)
    assert status == 0, err
    first, second = lines.splitlines()
    assert first.startswith("ctc: %CER 42.86 (")
    assert second.startswith("ours: %CER 14.29 (") and "difference -28.57 (" in second
    assert "probability of improvement 0." in second
    text = (exp / "out/table.md").read_text(encoding="utf-8")
    assert "7 characters of 2 utterances" in text and files[1] in text
    assert "10000 resamplings, seed 0" in text
    assert [row.split(" | ")[0].strip("| ") for row in text.splitlines() if "|" in row][2:] == [
        *HYPS
    ]
    arguments = ("--exp-dirs", *HYPS, "--part", "test", "--method", "1best")
    assert run(*arguments, cwd=exp)[1] == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either recogs files or --exp-dirs"),
        (("a.txt", "--exp-dirs", "ctc", "ours"), "either recogs files or --exp-dirs"),
        (("--exp-dirs", "ctc"), "1 runs, expected two or more"),
        (("--exp-dirs", "ctc", "theirs"), "Decode system 'theirs' first"),
        (("--exp-dirs", "ctc", "ours", "--method", "nbest"), "no results of test by nbest"),
        (("a.txt", "b.txt"), "a.txt is not there"),
    ],
)
def test_bad_options_are_refused(exp, arguments, message):
    status, _, err = run(*arguments, cwd=exp)
    assert status in (1, 2)
    assert message in err.splitlines()[-1]
