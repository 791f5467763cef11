"""Known issues of process pools: a worker that the system kills, a Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio import write_part

from gmot.data.features import compute_fbank, load_cmvn, load_cuts
from gmot.data.manifests import prepare_manifests

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def workers(pid):
    """Processes of a pool that were spawned by ``pid``."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.append(int(child))
    return found


@pytest.fixture
def fbank(tmp_path):
    """Start compute_fbank.py with two workers; end it when the first split is done."""
    write_part(tmp_path / "corpus" / "train", [0.12] * 260)
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    command = [sys.executable, str(ROOT / "local" / "compute_fbank.py"), "--prefix", "toy"]
    command += ["--splits", "train", "--manifest-dir", str(tmp_path / "m"), "--num-jobs", "2"]
    command += ["--speed-perturb", "0.9", "1.1", "--fbank-dir", str(tmp_path / "f")]
    feats = tmp_path / "f" / "toy_feats_train"

    def start():
        # A process that ignores SIGINT, such as a background job, hands that on.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                command, stderr=subprocess.PIPE, text=True, start_new_session=True, bufsize=1
            )
        finally:
            signal.signal(signal.SIGINT, before)

    def at_work(process):
        deadline = time.monotonic() + 60
        while not (list(feats.glob("shard-*.json")) and workers(process.pid)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.002)

    return start, at_work


def test_a_killed_worker_is_one_line_and_the_same_command_goes_on(fbank, tmp_path):
    """B31, icefall#2037 and #964: a traceback of BrokenProcessPool."""
    start, at_work = fbank
    process = start()
    at_work(process)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert "killed" in line and "memory" in line and "--num-jobs" in line
    again = start()
    said = again.communicate(timeout=120)[1]
    assert again.returncode == 0, said
    assert len(load_cuts(tmp_path / "f", "toy", "train")) == 780


@pytest.mark.parametrize("delay", [None, 0.0, 0.1, 1.0], ids=lambda delay: f"delay-{delay}")
def test_an_interrupted_run_is_one_line(fbank, delay):
    """B31: Ctrl-C reaches the workers too, which say nothing, at work or still starting."""
    start, at_work = fbank
    process = start()
    if delay is None:
        at_work(process)
    else:
        deadline = time.monotonic() + 60
        while not workers(process.pid):
            assert time.monotonic() < deadline and process.poll() is None
        time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
    assert "run the same command" in said


def test_a_killed_run_is_resumed_to_the_same_features(fbank, tmp_path):
    """SIGKILL in the middle; the rest is computed and equals an uninterrupted run."""
    start, at_work = fbank
    feats = tmp_path / "f" / "toy_feats_train"
    process = start()
    at_work(process)
    children = workers(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = {path.name: path.stat().st_mtime_ns for path in feats.glob("shard-*.json")}
    assert 1 <= len(finished) < 4 and not (tmp_path / "f" / "toy_cuts_train.jsonl.gz").exists()
    assert len(children) == 2
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "workers outlive the killed run"
        time.sleep(0.01)

    again = start()
    assert again.communicate(timeout=120) and again.returncode == 0
    assert {n: (feats / n).stat().st_mtime_ns for n in finished} == finished  # not redone
    assert not list(feats.glob(".tmp-*"))
    options = {"speeds": (0.9, 1.1), "write_cmvn": True}
    compute_fbank("toy", "train", tmp_path / "m", tmp_path / "other", **options)
    resumed, other = (load_cuts(tmp_path / name, "toy", "train") for name in ("f", "other"))
    assert [cut.id for cut in resumed] == [cut.id for cut in other] and len(other) == 780
    for a, b in zip(resumed, other):
        assert np.array_equal(a.load_features(), b.load_features())
    for a, b in zip(load_cmvn(tmp_path / "f", "toy"), load_cmvn(tmp_path / "other", "toy")):
        assert (a == b).all()
