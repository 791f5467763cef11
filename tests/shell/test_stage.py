"""shared/stage.sh: a stage runs unless its products are those of its command and inputs."""

import os
import shutil
import signal
import subprocess
import time

import pytest

BEGIN = """
. "$root/shared/stage.sh"
marker_dir=$PWD/markers stage=${stage:-0} stop_stage=${stop_stage:-9}
"""

# Two stages, the second made from the first; each appends a line to `work`.
CHAIN = (
    BEGIN
    + """
first() { echo first >>work; cat source >product1; }
second() { echo second >>work; echo "$@" >product2; }
stage 1 one --in source --out product1 -- first
stage 2 two --after one --out product2 -- second --rate "${rate:-16000}" --num-jobs "${jobs:-1}"
echo end
"""
)


@pytest.fixture
def chain(bash, tmp_path):
    (tmp_path / "source").write_text("a")

    def run(**environment):
        result = bash(script=CHAIN, **environment)
        work = tmp_path / "work"
        done = work.read_text().split() if work.exists() else []
        work.unlink(missing_ok=True)
        return result, done

    return run


def test_a_second_run_repeats_nothing(chain):
    assert chain()[1] == ["first", "second"]
    result, done = chain()
    assert (done, result.stdout) == ([], "end\n")


def test_a_changed_option_reruns_its_stage_and_is_shown(chain):
    chain()
    result, done = chain(rate="8000")
    assert done == ["second"]
    assert "--rate 16000" in result.stderr and "--rate 8000" in result.stderr
    assert "--num-jobs" not in result.stderr  # only the lines that differ
    assert chain(rate="8000")[1] == []


def test_an_option_that_changes_no_product_is_not_recorded(chain, tmp_path):
    chain(jobs="2")
    assert chain(jobs="7")[1] == []
    (tmp_path / "product2").unlink()
    assert chain(jobs="7")[1] == ["second"]
    assert "--num-jobs 7" in (tmp_path / "product2").read_text()


@pytest.mark.parametrize(
    ("before", "now", "runs"),
    [
        ("--num-jobs=2 --x 1", "--num-jobs=3 --x 1", False),
        ("--data.num_workers 2 --x 1", "--x 1", False),
        ("--x 1", "--x=1", True),
        ("--x 'a b'", "--x a b", True),
        ("--x ''", "--x", True),
        ("--config a --config b", "--config b --config a", True),
        ("1", "2", True),
    ],
)
def test_changes_of_a_command_line(bash, before, now, runs):
    script = BEGIN + "stage 4 x -- echo worked "
    bash(script=script + before)
    assert (bash(script=script + now).stdout != "") == runs
    assert bash(script=script + now).stdout == ""


def test_a_changed_input_reruns_the_stage_and_those_after_it(chain, tmp_path):
    chain()
    (tmp_path / "source").write_text("b")
    result, done = chain()
    assert done == ["first", "second"]
    assert "source" in result.stderr and "one.done" in result.stderr
    os.utime(tmp_path / "source", (1, 1))
    assert chain()[1] == []  # the time of a file is not its content


@pytest.mark.parametrize("damage", ["gone", "empty", "shorter"])
def test_a_damaged_product_is_made_again(chain, tmp_path, damage):
    chain()
    if damage == "gone":
        (tmp_path / "product2").unlink()
    else:
        (tmp_path / "product2").write_text("" if damage == "empty" else "-")
    result, done = chain()
    assert done == ["second"]
    assert "product2" in result.stderr and "product1" not in result.stderr


def test_stage_and_stop_stage_select(chain):
    assert chain(stop_stage="1")[1] == ["first"]
    assert chain(stage="2")[1] == ["second"]
    assert chain(stage="3")[1] == []


def test_a_stage_needs_those_before_it(chain):
    result, done = chain(stage="2")
    assert (result.returncode, done) == (1, [])
    assert "'one'" in result.stderr


def test_a_missing_input_is_named(chain, tmp_path):
    (tmp_path / "source").unlink()
    result, done = chain()
    assert (result.returncode, done) == (1, [])
    assert "source" in result.stderr


def test_a_failure_anywhere_in_the_command_stops_the_run(bash, tmp_path):
    script = 'work() { false | true; echo "went on"; }\nstage 4 x -- work\necho end\n'
    result = bash(script=BEGIN + script)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Stage 4 x" in result.stderr.splitlines()[-1]  # how to continue
    assert not (tmp_path / "markers/x.done").exists()


@pytest.mark.parametrize("kind", ["--out", "--keep"])
def test_a_stage_does_not_end_without_its_products(bash, tmp_path, kind):
    result = bash(script=BEGIN + f"stage 4 x {kind} product -- touch product")
    assert result.returncode == 1
    assert "product" in result.stderr
    assert not (tmp_path / "markers/x.done").exists()


def test_the_command_cannot_change_the_shell_around_it(bash, tmp_path):
    script = """
title=mine
work() { echo "$title"; title=other; cd /; }
stage 4 x -- work
echo "$title $PWD"
"""
    assert bash(script=BEGIN + script).stdout == f"mine\nmine {tmp_path}\n"


def test_a_killed_stage_runs_again_though_its_product_looks_complete(bash, tmp_path):
    """Also if the stage had been finished before the run that was killed."""
    script = (
        BEGIN
        + """
work() { echo half >product; if [ -n "${wait:-}" ]; then touch started; sleep 60; fi; echo worked; }
stage 4 x --out product -- work --rate "$rate"
"""
    )
    assert bash(script=script, rate="1").stdout == "worked\n"
    process = subprocess.Popen(
        ["bash", "script.sh"],
        cwd=tmp_path,
        env={**os.environ, "rate": "2", "wait": "yes"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(200):
            if (tmp_path / "started").exists():
                break
            time.sleep(0.05)
        else:
            pytest.fail("the stage did not begin")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # Even with the first option: what is there now is not its product.
    assert bash(script=script, rate="1").stdout == "worked\n"
    assert bash(script=script, rate="1").stdout == ""


LOCKED = """
. "$root/shared/stage.sh"
lock "$PWD/.lock" the-data
touch "has-$name"
while [ ! -f "let-$name" ]; do sleep 0.05; done
echo "$name" >>order
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="locks by flock")
def test_of_two_runs_the_second_waits(bash, tmp_path):
    (tmp_path / "let-second").touch()
    bash(script=LOCKED, name="second")  # alone it goes ahead, and leaves script and lock file
    assert (tmp_path / "order").read_text() == "second\n"
    (tmp_path / "has-second").unlink()
    with open(tmp_path / "log", "w") as log:
        runs = []
        try:
            for name, sign in (("first", "has-first"), ("second", "log")):
                environment = {**os.environ, "name": name}
                command = ["bash", "script.sh"]
                runs.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log))
                deadline = time.time() + 20
                while not (tmp_path / sign).exists() or (
                    sign == "log" and "the-data" not in (tmp_path / "log").read_text()
                ):
                    assert time.time() < deadline, (tmp_path / "log").read_text()
                    time.sleep(0.05)
            assert not (tmp_path / "has-second").exists()
            (tmp_path / "let-first").touch()
            assert [run.wait(timeout=20) for run in runs] == [0, 0]
        finally:
            for run in runs:
                run.kill()
                run.wait()
    assert (tmp_path / "order").read_text() == "second\nfirst\nsecond\n"


@pytest.mark.parametrize("trouble", ["no such folder", "flock fails"])
def test_without_a_lock_the_run_continues_and_warns(bash, tmp_path, trouble):
    file = "gone/.lock"
    if trouble == "flock fails":  # as util-linux's does without a lock server
        file = ".lock"
        (tmp_path / "flock").write_text("#!/bin/sh\nexit 71\n")
        (tmp_path / "flock").chmod(0o755)
    script = f'PATH=$PWD:$PATH\n. "$root/shared/stage.sh"\nlock {file} the-data\necho end\n'
    result = bash(script=script)
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr
    assert file in result.stderr and "the-data" in result.stderr


def test_large_inputs_are_known_by_size_and_time(bash, tmp_path):
    with open(tmp_path / "large", "wb") as f:
        f.truncate((64 << 20) + 1)
    script = BEGIN + "stage 4 x --in large -- echo worked"
    assert bash(script=script).stdout == "worked\n"
    assert bash(script=script).stdout == ""
    os.utime(tmp_path / "large", (1, 1))
    assert bash(script=script).stdout == "worked\n"
