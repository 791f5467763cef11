"""Features and the teacher's store on a Dask cluster: scheduler and workers as real processes."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
from audio import write_part
from small_bert import save_small_bert

from gmot.data.features import compute_fbank
from gmot.data.manifests import prepare_manifests
from gmot.teacher import FeatureStore, Teacher, write_store
from gmot.text.units import Characters, save_units

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
ROOT = Path(__file__).resolve().parents[1]
PAUSE = 0.002


class Cluster:
    """A scheduler, and workers of one thread without nannies."""

    def __init__(self, folder: Path):
        self.folder = folder
        file = folder / "scheduler.json"
        self.scheduler = self.start(
            "scheduler", *("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        )
        while not file.exists():
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]
        self.workers: list[subprocess.Popen] = []

    def start(self, command: str, *arguments: str, before=(), path=(), **options):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        folders = [*map(str, path), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
        words = [*before, sys.executable, "-m", "dask", command, "--no-dashboard", *arguments]
        with open(self.folder / f"{command}.log", "ab") as log:
            return subprocess.Popen(
                words, stdout=log, stderr=log, cwd=self.folder, env=environment, **options
            )

    def add_worker(self, **options) -> None:
        arguments = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder))
        self.workers.append(self.start("worker", self.address, *arguments, **options))

    def kill_one_at_work(self, folder: Path, process: subprocess.Popen) -> None:
        """SIGKILL a worker that writes a shard: its temporary file has its number."""
        deadline = time.monotonic() + 90
        while True:
            names = [path.name for path in folder.glob(".tmp-*-shard-*")]
            for worker in self.workers:
                if any(name.split("-")[2] == str(worker.pid) for name in names):
                    worker.kill()
                    worker.wait()
                    return
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(PAUSE)

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("dask"))
    yield found
    found.end()


@pytest.fixture
def fbank(tmp_path):
    """compute_fbank.py of four shards with more options."""
    write_part(tmp_path / "corpus" / "train", [0.12] * 260)
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    command = [sys.executable, str(ROOT / "local" / "compute_fbank.py"), "--prefix", "toy"]
    command += ["--splits", "train", "--manifest-dir", str(tmp_path / "m")]
    command += ["--speed-perturb", "0.9", "1.1", "--fbank-dir", "f"]

    def start(*options):
        return subprocess.Popen(
            [*command, *options], stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )

    return start


def contents(folder: Path) -> dict[str, bytes]:
    """Files by their names; compressed ones without gzip's header, which has the time."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        found[str(path.relative_to(folder))] = (
            gzip.decompress(data) if path.suffix == ".gz" else data
        )
    return found


def errors(said: str) -> list[str]:
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("error:")]


def test_features_of_a_cluster_with_a_killed_worker_are_the_local_ones(cluster, fbank, tmp_path):
    other = tmp_path / "site" / "lhotse-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: lhotse\nVersion: 0.0.1\n")
    cluster.add_worker()
    cluster.add_worker(path=[other.parent])
    process = fbank("--executor", cluster.address)
    cluster.kill_one_at_work(tmp_path / "f" / "toy_feats_train", process)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said and "distributed" not in said
    (line,) = [line for line in said.splitlines() if "lhotse 0.0.1 (here" in line]
    assert "WARNING" in line and "tcp://" in line
    options = {"speeds": [0.9, 1.1], "write_cmvn": True}
    compute_fbank("toy", "train", tmp_path / "m", tmp_path / "local", **options)
    assert len(list((tmp_path / "local").rglob("shard-*.f16"))) == 4
    assert contents(tmp_path / "f") == contents(tmp_path / "local")


def test_a_lost_scheduler_is_one_line_and_finished_shards_are_kept(cluster, fbank, tmp_path):
    cluster.add_worker()
    feats = tmp_path / "f" / "toy_feats_train"
    process = fbank("--executor", cluster.address)
    while not list(feats.glob("shard-*.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(PAUSE)
    cluster.scheduler.send_signal(signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    (line,) = errors(said)
    assert process.returncode == 1 and "scheduler was lost" in line and cluster.address in line
    cluster.end()
    finished = {path: path.stat().st_mtime_ns for path in feats.glob("shard-*.json")}
    assert finished and not (tmp_path / "f" / "toy_cuts_train.jsonl.gz").exists()
    again = fbank("--num-jobs", "1")
    said = again.communicate(timeout=120)[1]
    assert again.returncode == 0 and f"{len(finished)} of 4 shards exist" in said
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_a_worker_that_does_not_see_the_folder_is_named(cluster, fbank, tmp_path):
    hide = f'mount -t tmpfs none {tmp_path} && exec "$@"'
    before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", hide, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*before, "true"]).returncode:
        pytest.skip("no mount namespaces")
    cluster.add_worker(before=before)
    process = fbank("--executor", cluster.address)
    (line,) = errors(process.communicate(timeout=90)[1])
    assert process.returncode == 1 and "shared file system" in line
    assert str(tmp_path / "f" / "toy_feats_train") in line and "worker tcp://127.0.0.1:" in line


def test_an_interrupted_run_is_one_line(cluster, fbank, tmp_path):
    cluster.add_worker()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # inherited if ignored
    try:
        process = fbank("--executor", cluster.address)
    finally:
        signal.signal(signal.SIGINT, before)
    while not list((tmp_path / "f" / "toy_feats_train").glob("shard-*.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(PAUSE)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "run the same command" in said
    assert "Traceback" not in said and "Interrupt" not in said
    assert not cluster.workers[0].poll() and not cluster.scheduler.poll()


def test_no_scheduler_is_one_line(fbank):
    process = fbank("--executor", "tcp://127.0.0.1:9")
    (line,) = errors(process.communicate(timeout=90)[1])
    assert process.returncode == 1
    assert "tcp://127.0.0.1:9" in line and "dask scheduler" in line


CHARACTERS = "今天气很好中文他她在十一"


@pytest.fixture
def sentences():
    """2,100 sentences, three shards."""
    return ["".join(s) for s in product(CHARACTERS, repeat=4)][:2100]


def test_a_store_of_a_cluster_with_a_killed_worker_is_the_local_one(cluster, sentences, tmp_path):
    bert = save_small_bert(tmp_path / "bert", CHARACTERS)
    write_part(tmp_path / "corpus" / "train", [0.1])
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    from lhotse import SupervisionSegment, SupervisionSet

    SupervisionSet.from_segments(
        SupervisionSegment(f"u{i}", "r", 0.0, 1.0, text=text) for i, text in enumerate(sentences)
    ).to_file(tmp_path / "m" / "toy_supervisions_train.jsonl.gz")
    save_units(Characters(), tmp_path / "lang")
    cluster.add_worker()
    cluster.add_worker()
    command = [sys.executable, str(ROOT / "local" / "compute_teacher.py"), "--prefix", "toy"]
    command += ["--manifest-dir", "m", "--lang-dir", "lang", "--teacher", "bert"]
    command += ["--device", "cpu", "--store", "store", "--executor", cluster.address]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    cluster.kill_one_at_work(tmp_path / ".shards-store", process)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said and not (tmp_path / ".shards-store").exists()
    for num_jobs in (1, 2):
        write_store(tmp_path / "local", Teacher(bert), Characters(), sentences, num_jobs=num_jobs)
        assert contents(tmp_path / "store") == contents(tmp_path / "local")
    assert len(FeatureStore(tmp_path / "store")) == 2100
