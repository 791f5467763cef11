"""shared/jobs.sh and signals: experiments at a time, on devices, failing and interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Local scripts of the stages: training reports its device in a file while it runs, waits as told by
# the file `hold`, fails for names in `bad`, and saves on SIGTERM and SIGINT as local/train.py does.
PYTHON = f"""#!/bin/bash
case $1 in
  -c) cat "$work/gpus" 2>/dev/null; exit 0 ;;
  local/plan_experiments.py) exec {sys.executable} "$@" ;;
  -m) echo "$OMP_NUM_THREADS $@" >>"$work/calls"; exit 0 ;;
esac
exec {sys.executable} "$work/stages.py" "$@"
"""
STAGES = """
import os, pathlib, signal, sys, time

work, words = pathlib.Path(os.environ["work"]), sys.argv
value = lambda name: words[words.index(name) + 1] if name in words else ""
script, exp = pathlib.Path(words[1]).stem, pathlib.Path(value("--exp-dir"))
with open(work / "calls", "a") as f:
    f.write(" ".join(words[1:]) + "\\n")
if script == "train":
    def stop(number, frame):
        (work / f"{exp.name}.saved").touch()
        sys.exit(75)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print("told by", exp.name)
    running = work / "running" / f"{value('--device')}-{exp.name}"
    running.parent.mkdir(exist_ok=True)
    running.touch()
    with open(work / "most", "a") as f:
        f.write(" ".join(sorted(p.name for p in running.parent.iterdir())) + "\\n")
    try:
        time.sleep(0.2)
        while (work / "hold").exists():
            time.sleep(0.02)
        if (work / "bad").exists() and exp.name in (work / "bad").read_text().split():
            sys.exit("error: bad data")
    finally:
        running.unlink()
elif script == "decode":
    (exp / "results.json").write_text("[1]")
for name in ("--output",):
    if value(name):
        pathlib.Path(value(name)).write_text("| x |\\n")
if script == "make_report":
    (exp / "report.html").write_text("x")
"""


def not_ignored():
    """Signals as for a foreground process; bash cannot trap those ignored when it starts."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Recipe:
    """``egs/mini/run.sh`` from stage 8 on, with stages that take no time."""

    def __init__(self, work: Path):
        self.work, self.exp = work, work / "exp" / "small" / "small"
        (work / "bin").mkdir()
        (work / "bin" / "python").write_text(PYTHON)
        (work / "bin" / "python").chmod(0o755)
        (work / "stages.py").write_text(STAGES)
        (work / "teacher").mkdir()
        (work / "teacher" / "tokenizer.json").write_text("{}")
        markers = work / "mini" / "small" / ".stages"
        markers.mkdir(parents=True)
        for name in ("manifests", "fbank", "lang", "graphs", "teacher"):
            (markers / f"{name}.done").write_text("run\n")

    def start(self, *options: str) -> subprocess.Popen:
        (self.work / "calls").write_text("")
        return subprocess.Popen(
            [
                *("bash", str(ROOT / "egs/mini/run.sh"), "--venv", "none", "--stage", "8"),
                *("--data-dir", str(self.work / "mini"), "--exp-dir", str(self.work / "exp")),
                *("--teacher", str(self.work / "teacher"), *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={
                **{k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"},
                **{"work": str(self.work), "PATH": f"{self.work / 'bin'}:{os.environ['PATH']}"},
            },
            preexec_fn=not_ignored,
        )

    def run(self, *options: str) -> tuple[int, str]:
        process = self.start(*options)
        self.stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stderr

    def calls(self, script: str) -> list[str]:
        lines = (self.work / "calls").read_text().splitlines()
        return [line for line in lines if f"local/{script}.py" in line]

    def interrupt(self, number: int, count: int, *options: str) -> tuple[int, str]:
        """Signal once ``count`` trainings run: SIGINT as a terminal to the group, else to bash."""
        (self.work / "hold").touch()
        process = self.start(*options)
        deadline = time.time() + 30
        while len(list(self.work.glob("running/*"))) < count:
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, stderr = process.communicate(timeout=30)
        with pytest.raises(ProcessLookupError):  # no process is left in its group
            os.killpg(process.pid, 0)
        (self.work / "hold").unlink()
        return process.returncode, stderr


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path)


SEEDS = ("--config", "conf/ctc.yaml", "--seeds", "1 2 3")
NAMES = ["ctc_seed1", "ctc_seed2", "ctc_seed3"]


def test_jobs_share_the_devices(recipe):
    status, console = recipe.run(*SEEDS, "--devices", "cuda:0 cuda:1")
    assert status == 0, console
    running = [line.split() for line in (recipe.work / "most").read_text().splitlines()]
    assert max(map(len, running)) == 2
    assert all(len({word.split("-")[0] for word in line}) == len(line) for line in running)
    for name in NAMES:
        lines = [line for line in console.splitlines() if name in line]
        events = [line for line in lines if "Stage 10" not in line and "report" not in line]
        assert "started on cuda:" in events[0] and f"{name}/log/run.log" in events[0]
        assert any("Stage 8 ctc_seed" in e and "done" in e for e in events)
        assert "finished" in events[-1]
        assert "told by" not in console
        assert f"told by {name}" in (recipe.exp / name / "log" / "run.log").read_text()
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert all(f"--num-threads {threads} " in call for call in recipe.calls("train"))
    assert "--experiments ctc_seed1 ctc_seed2 ctc_seed3" in recipe.calls("summarize_results")[0]
    # The device, the threads and the number of jobs change nothing.
    status, console = recipe.run(*SEEDS, "--jobs", "3", "--num-threads", "7")
    assert status == 0 and not recipe.calls("train") and not recipe.calls("decode")


def test_gpus_are_the_default_devices(recipe):
    (recipe.work / "gpus").write_text("2\n")
    assert recipe.run(*SEEDS, "--jobs", "3", "--stop-stage", "8")[0] == 0
    devices = [call.split("--device ")[1].split()[0] for call in recipe.calls("train")]
    assert sorted(devices) in (["cuda:0", "cuda:0", "cuda:1"], ["cuda:0", "cuda:1", "cuda:1"])


def test_a_failure_stops_no_other_experiment(recipe):
    (recipe.work / "bad").write_text("ctc_seed1")
    status, console = recipe.run(*SEEDS, "--jobs", "1")
    assert status == 1
    assert "failed: ctc_seed1 " in console.splitlines()[-1]
    (line,) = [line for line in console.splitlines() if "failed (status 1)" in line]
    assert "Stage 8 ctc_seed1/train" in line
    assert "bad data" not in console
    assert "bad data" in (recipe.exp / "ctc_seed1" / "log" / "run.log").read_text()
    assert "--experiments ctc_seed2 ctc_seed3 " in recipe.calls("summarize_results")[0]
    (recipe.work / "bad").unlink()
    status, console = recipe.run(*SEEDS, "--jobs", "1")
    assert status == 0, console
    assert [call.split("--exp-dir ")[1].split()[0] for call in recipe.calls("train")] == [
        str(recipe.exp / "ctc_seed1")
    ]
    assert "--experiments ctc_seed1 ctc_seed2" in recipe.calls("summarize_results")[0]


def test_experiments_wait_for_the_pretraining_of_their_seed(recipe):
    options = ("--config", "conf/gm_ot.yaml", "--seeds", "1 2", "--pretrain", "--jobs", "2")
    (recipe.work / "bad").write_text("ctc_seed1")
    status, console = recipe.run(*options)
    assert status == 1
    assert "failed: ctc_seed1 gm_ot_seed1-pretrained " in console.splitlines()[-1]
    starts = [c.split("--init-from ")[1].split()[0] for c in recipe.calls("train") if "-from" in c]
    assert starts == ["ctc_seed2/average.pt"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")], ids=["console", "jobs"])
def test_interrupted_trainings_save_and_leave_no_process(recipe, number, jobs):
    count = 2 if jobs else 1
    status, console = recipe.interrupt(number, count, *SEEDS, *jobs)
    assert status == 75, console
    assert len(list(recipe.work.glob("*.saved"))) == count
    assert "interrupted" in console and "failed" not in console and "same command" in console
    assert len(recipe.calls("train")) == count and not recipe.calls("decode")
    status, console = recipe.run(*SEEDS, *jobs)
    assert status == 0, console
    assert len(recipe.calls("train")) == 3


def test_a_training_that_was_interrupted_by_others_is_no_failure(bash):
    script = '. "$root/shared/stage.sh"\nmarker_dir=$PWD stage=0 stop_stage=9\n'
    result = bash(script=script + "work() { exit 75; }\nstage 8 x -- work")
    assert result.returncode == 75
    assert "interrupted" in result.stderr and "failed" not in result.stderr


def test_a_training_of_several_processes(recipe):
    options = ("--config", "conf/ctc.yaml", "--stop-stage", "8")
    assert recipe.run(*options, "--nproc", "2", "--num-threads", "3")[0] == 0
    (call,) = recipe.calls("train")
    assert call.startswith("3 -m torch.distributed.run --nproc_per_node 2 --max_restarts 3 ")
    assert "local/train.py --config" in call and "--num-threads 3" in call
    status, console = recipe.run(*options, "--nproc", "1")  # other batches: another training
    assert status == 0 and len(recipe.calls("train")) == 1 and "--nproc 2" in console
    (recipe.work / "gpus").write_text("0\n")
    assert recipe.run(*options, "--nproc", "auto")[0] == 0
    assert not recipe.calls("train")


def test_updates_of_a_fixed_size_are_the_same_by_any_number_of_processes(recipe):
    options = ("--config", "conf/ctc.yaml", "--stop-stage", "8", "--data.update_duration", "60")
    for number in "1", "2":
        assert recipe.run(*options, "--nproc", number)[0] == 0
        assert len(recipe.calls("train")) == (number == "1")


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--jobs", "0"), ("--jobs", "0")),
        (("--jobs", "two"), ("--jobs", "two")),
        (("--nproc", "x"), ("--nproc", "x")),
        (("--num-threads", "-1"), ("--num-threads", "-1")),
        (("--jobs", "2", "--nproc", "2"), ("--jobs", "--nproc 2")),
        (("--devices", "cuda:0 cuda:1", "--nproc", "2"), ("--devices", "--nproc 2")),
        (("--seeds", "one"), ("--seeds", "one")),
        (("--seeds", "1 2", "--training.seed", "3"), ("--seeds", "--training.seed")),
        (("--average", "worst"), ("--average", "worst")),
    ],
)
def test_wrong_options_are_refused(recipe, options, facts):
    status, console = recipe.run(*options)
    assert status in (1, 2) and not recipe.calls("train")
    assert all(fact in console.splitlines()[-1] for fact in facts), console


def test_the_average_reaches_decoding_and_pretraining(recipe):
    options = ("--config", "conf/gm_ot.yaml", "--pretrain", "--average", "best", "--avg", "4")
    status, console = recipe.run(*options)
    assert status == 0, console
    calls = recipe.calls("decode") + recipe.calls("average_checkpoints")
    assert len(calls) == 3 and all("--avg 4 --average best" in call for call in calls)
    assert all("--training.keep_best 4" in call for call in recipe.calls("train"))
