"""shared/stages.sh: a stage runs when, and only when, its product is not what it should be."""

import os
import shutil
import signal
import subprocess
import time

import pytest

# Two stages, the second made from the first; their work is an appended line each.
CHAIN = """
. "$root/shared/stages.sh"
marker_dir=$PWD/markers
stage=${stage:-0}
stop_stage=${stop_stage:-9}
rate=${rate:-16000}
jobs=${jobs:-1}
first() { echo first >>work; cat source >product1; }
second() { echo second >>work; echo "$rate" >product2; }
stage 1 one "the first" --settings jobs_that_matter --inputs source --outputs product1 -- first
stage 2 two "the second" --after one --settings rate --outputs product2 -- second
echo end
"""


@pytest.fixture
def chain(bash, tmp_path):
    (tmp_path / "source").write_text("a")

    def run(**environment):
        result = bash(script=CHAIN, **{"jobs_that_matter": "4", **environment})
        work = tmp_path / "work"
        done = work.read_text().split() if work.exists() else []
        work.unlink(missing_ok=True)
        return result, done

    return run


def test_a_second_run_does_nothing_and_says_so(chain):
    assert chain()[1] == ["first", "second"]
    result, done = chain(jobs="7")
    assert done == []
    assert result.stderr.count("up to date") == 2
    assert result.stdout == "end\n"


def test_a_changed_setting_is_named_and_runs_its_stage_alone(chain):
    chain()
    result, done = chain(rate="8000")
    assert done == ["second"]
    assert "was: rate='16000'" in result.stderr
    assert "now: rate='8000'" in result.stderr
    assert chain(rate="8000")[1] == []


def test_a_changed_input_runs_the_stage_and_those_after_it(chain, tmp_path):
    chain()
    (tmp_path / "source").write_text("b")
    result, done = chain()
    assert done == ["first", "second"]
    assert "file source" in result.stderr
    assert "now: stage one, run" in result.stderr


def test_an_input_that_was_only_touched_is_not_a_change(chain, tmp_path):
    chain()
    os.utime(tmp_path / "source", (1, 1))
    assert chain()[1] == []


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_missing_product_is_made_again(chain, tmp_path, damage):
    chain()
    if damage == "gone":
        (tmp_path / "product2").unlink()
    else:
        (tmp_path / "product2").write_text("")
    result, done = chain()
    assert done == ["second"]
    assert "missing: product2" in result.stderr


def test_stage_and_stop_stage_select(chain):
    assert chain(stop_stage="1")[1] == ["first"]
    assert chain(stage="2")[1] == ["second"]
    assert chain(stage="3")[1] == []


def test_a_stage_does_not_begin_before_the_one_it_needs(chain):
    result, done = chain(stage="2")
    assert result.returncode == 1
    assert done == []
    assert "needs stage 'one', which is not finished" in result.stderr


def test_a_missing_input_is_named(chain, tmp_path):
    (tmp_path / "source").unlink()
    result, done = chain()
    assert (result.returncode, done) == (1, [])
    assert "its input source is not there" in result.stderr


def run_stage(bash, body, **environment):
    return bash(
        script=f"""
. "$root/shared/stages.sh"
marker_dir=$PWD/markers stage=0 stop_stage=9
normalize() {{ tr a-z "${{to:-A-Z}}"; }}
{body}
echo end
""",
        **environment,
    )


def test_a_failure_anywhere_in_the_work_stops_the_run(bash, tmp_path):
    body = """
work() { false | true; echo "went on"; }
stage 4 x "the work" -- work
"""
    result = run_stage(bash, body)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Stage 4: the work: stopped" in result.stderr
    assert not (tmp_path / "markers/x.done").exists()


def test_a_stage_refuses_an_empty_product(bash, tmp_path):
    result = run_stage(bash, 'stage 4 x "the work" --outputs product -- touch product')
    assert result.returncode == 1
    assert "ended without making product" in result.stderr
    assert not (tmp_path / "markers/x.done").exists()


def test_a_function_is_known_by_its_text(bash):
    body = 'stage 4 x "the work" --functions normalize not_there -- echo worked'
    assert run_stage(bash, body).stdout == "worked\nend\n"
    assert run_stage(bash, body).stdout == "end\n"
    changed = "normalize() { tr A-Z a-z; }\n" + body
    result = run_stage(bash, changed)
    assert result.stdout == "worked\nend\n"
    assert "function normalize" in result.stderr


def test_the_work_cannot_change_the_shell_around_it(bash, tmp_path):
    body = """
title=mine
work() { echo "$title"; title=other; cd /; }
stage 4 x "the work" --settings title -- work
echo "$title $PWD"
"""
    assert run_stage(bash, body).stdout == f"mine\nmine {tmp_path}\nend\n"


def test_a_killed_stage_is_run_again_though_its_product_looks_whole(bash, tmp_path):
    """Also where the stage had been finished before the run that was killed."""
    body = """
. "$root/shared/stages.sh"
marker_dir=$PWD/markers stage=0 stop_stage=9
work() { echo half >product; if [ -n "${wait:-}" ]; then touch started; sleep 60; fi; echo worked; }
stage 4 x "the work" --settings rate --outputs product -- work
"""
    assert bash(script=body, rate="1").stdout == "worked\n"
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
    # Even with the first settings: what is there now is not theirs.
    assert bash(script=body, rate="1").stdout == "worked\n"
    assert bash(script=body, rate="1").stdout == ""


LOCKED = """
. "$root/shared/stages.sh"
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
                    sign == "log" and "waiting for it" not in (tmp_path / "log").read_text()
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
def test_where_nothing_can_be_locked_it_goes_on_and_says_so(bash, tmp_path, trouble):
    file = "gone/.lock"
    if trouble == "flock fails":  # as util-linux's does without a lock server
        file = ".lock"
        (tmp_path / "flock").write_text("#!/bin/sh\nexit 71\n")
        (tmp_path / "flock").chmod(0o755)
    body = f'PATH=$PWD:$PATH\n. "$root/shared/stages.sh"\nlock {file} the-data\necho end\n'
    result = bash(script=body)
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr
    assert "Going on without a lock" in result.stderr


def test_large_inputs_are_known_by_size_and_time(bash, tmp_path):
    with open(tmp_path / "large", "wb") as f:
        f.truncate((64 << 20) + 1)
    body = 'stage 4 x "the work" --inputs large -- echo worked'
    assert run_stage(bash, body).stdout == "worked\nend\n"
    assert run_stage(bash, body).stdout == "end\n"
    os.utime(tmp_path / "large", (1, 1))
    assert run_stage(bash, body).stdout == "worked\nend\n"
