"""The mini recipe from nothing to results on 24 utterances, killed on the way and not.

Real speech synthesis, teacher, training and decoding: it takes minutes.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gmot.data.datamodule import AsrDataModule

pytestmark = pytest.mark.recipe

ROOT = Path(__file__).resolve().parents[1]
HAS_K2 = importlib.util.find_spec("k2") is not None
METHODS = ["ctc-greedy-search"] + (["ctc-decoding", "1best"] if HAS_K2 else [])
NUM_EPOCHS = 3


class Recipe:
    """``egs/mini/run.sh --size tiny`` with folders of its own."""

    def __init__(self, folder: Path, cache: Path):
        self.folder, self.cache = folder, cache
        self.data = folder / "data" / "tiny"
        self.exp = folder / "exp" / "tiny"
        self.log = folder / "log.txt"
        folder.mkdir()

    def start(self, *options: str) -> subprocess.Popen:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with open(self.log, "a", encoding="utf-8") as log:
            return subprocess.Popen(
                [
                    "bash",
                    str(ROOT / "egs/mini/run.sh"),
                    *("--size", "tiny", "--venv", "none"),
                    *("--data-dir", str(self.folder / "data")),
                    *("--exp-dir", str(self.folder / "exp")),
                    *("--train-options", f"--num-epochs {NUM_EPOCHS}"),
                    *("--avg", "2"),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, "XDG_CACHE_HOME": str(self.cache)},
                start_new_session=True,  # so that a kill takes the children too
            )

    def run(self, *options: str) -> str:
        """Returns what this run printed."""
        before = self.log.stat().st_size if self.log.exists() else 0
        status = self.start(*options).wait(timeout=600)
        printed = self.log.read_bytes()[before:].decode()
        assert status == 0, printed[-4000:]
        return printed

    def kill_when(self, condition) -> None:
        """SIGKILL to the run and all its processes once ``condition()`` holds."""
        process = self.start()
        deadline = time.time() + 300
        while not condition():
            assert process.poll() is None, self.log.read_text()[-4000:]
            assert time.time() < deadline, "the moment to kill never came"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("recipe")
    recipe = Recipe(folder / "whole", folder / "cache-whole")
    recipe.printed = recipe.run()
    return recipe


def speech(recipe):
    return {p.name: p.read_bytes() for p in recipe.cache.glob("gmot/mini/speech/*/*.flac")}


def features(recipe):
    data = AsrDataModule(recipe.data / "fbank", "mini")
    return {
        name: matrix[:length]
        for part in ("train", "dev", "test")
        for batch in data.eval_dataloader(part)
        for name, matrix, length in zip(batch.ids, batch.features, batch.feature_lens)
    }


def test_results_are_complete(finished):
    for system in ("ctc", "gm_ot"):
        folder = finished.exp / system
        assert (folder / f"epoch-{NUM_EPOCHS}.pt").is_file()
        assert list((folder / "tensorboard").iterdir())
        records = json.loads((folder / "results.json").read_text())
        found = {(r["part"], r["method"]): r for r in records}
        assert set(found) == {(part, m) for part in ("dev", "test") for m in METHODS}
        for record in records:
            assert record["ci_low"] <= record["cer"] <= record["ci_high"]
            assert record["num_utterances"] == 4
        for method in METHODS:
            names = {p.name.split("-")[0] for p in (folder / method).iterdir()}
            assert names == {"recogs", "errs", "cer"}
    table = (finished.exp / "RESULTS.md").read_text()
    assert "gm_ot" in table and "gm_ot" in finished.printed


def test_h_agrees_with_greedy(finished):
    pytest.importorskip("k2")
    for system in ("ctc", "gm_ot"):
        by_method = {
            method: {
                p.name: p.read_text() for p in (finished.exp / system / method).glob("recogs-*")
            }
            for method in ("ctc-greedy-search", "ctc-decoding")
        }
        assert by_method["ctc-greedy-search"] == by_method["ctc-decoding"]


def test_a_second_run_repeats_nothing(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*.pt")}
    printed = finished.run()
    stages = re.findall(r"Stage \d+: .*", printed)
    left_out = [line for line in stages if "left out, k2 does not load" in line]
    assert len(left_out) == (0 if HAS_K2 else 1)
    up_to_date = [line for line in stages if line.endswith(": up to date")]
    assert len(up_to_date) == 13 - len(left_out)  # 0 to 10, training and decoding for both systems
    assert len(stages) == 13
    assert {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*.pt")} == before


def test_killed_three_times_it_ends_with_the_same_products(finished, tmp_path):
    recipe = Recipe(tmp_path / "killed", tmp_path / "cache")
    recipe.kill_when(lambda: len(speech(recipe)) >= 6)
    assert len(speech(recipe)) < 24
    recipe.kill_when(lambda: list((recipe.data / "fbank").glob("**/*")))
    assert not (recipe.data / ".stages" / "fbank.done").exists()
    recipe.kill_when(lambda: (recipe.exp / "gm_ot" / "epoch-1.pt").exists())
    assert not (recipe.exp / "gm_ot" / f"epoch-{NUM_EPOCHS}.pt").exists()
    recipe.run()

    assert speech(recipe) == speech(finished)
    ours, theirs = features(recipe), features(finished)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for system in ("ctc", "gm_ot"):
        name = f"{system}/epoch-{NUM_EPOCHS}.pt"
        models = [torch.load(r.exp / name)["model"] for r in (recipe, finished)]
        assert models[0].keys() == models[1].keys()
        assert all(torch.equal(models[0][k], models[1][k]) for k in models[0])
        for file in (finished.exp / system).glob("*/recogs-*"):
            assert (recipe.exp / system / file.parent.name / file.name).read_text() == (
                file.read_text()
            )
    leftovers = [p for p in tmp_path.rglob(".tmp-*")]
    assert not leftovers


def script(name: str, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "local" / name), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def train_options(recipe, system="gm_ot"):
    return [
        *("--config", str(ROOT / "egs/mini/conf/common.yaml"), "--system", system),
        *("--prefix", "mini", "--fbank-dir", str(recipe.data / "fbank")),
        *("--lang-dir", str(recipe.data / "lang")),
        *("--teacher", str(recipe.cache / "gmot/mini/teacher")),
        *("--num-epochs", str(NUM_EPOCHS)),
    ]


def test_another_configuration_is_refused(finished):
    """Resuming, starting from and decoding with what does not fit."""
    store = ("--teacher-store", str(finished.data / "teacher"))
    resumed = script(
        *("train.py", *train_options(finished), *store),
        *("--exp-dir", str(finished.exp / "gm_ot"), "--dropout", "0.3"),
    )
    assert resumed.returncode == 1
    assert "made with another configuration" in resumed.stderr and "dropout" in resumed.stderr

    new = str(finished.exp / "new")
    started = script(
        *("train.py", *train_options(finished), *store, "--exp-dir", new),
        *("--d-model", "96", "--init-from", "ctc/epoch-1.pt"),
    )
    assert started.returncode == 1
    assert "ctc/epoch-1.pt: does not fit the model" in started.stderr

    taught = script("train.py", *train_options(finished), "--exp-dir", new)
    assert taught.returncode == 1
    assert "needs --teacher-store" in taught.stderr

    unknown = script("train.py", *train_options(finished), "--exp-dir", new, "--system", "gmot")
    assert unknown.returncode == 1
    assert "system 'gmot' is unknown. Known: ctc, cma_ot" in unknown.stderr
    assert not list(Path(new).glob("*.pt"))


@pytest.fixture(scope="module")
def random_store(finished):
    """What stage 7 makes for the control."""
    folder = finished.data / "teacher_random"
    done = script(
        *("compute_teacher.py", "--prefix", "mini", "--train-part", "train", "--layer", "6"),
        *("--manifest-dir", str(finished.data / "manifests"), "--store", str(folder)),
        *("--teacher", str(finished.cache / "gmot/mini/teacher"), "--random-weights"),
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "system",
    [
        *("cma_ot", "hcm", "hcm_last", "tot", "uot", "gm_ot_no_edges", "gm_ot_no_order"),
        *("gm_ot_temporal", "gm_ot_random_teacher"),
    ],
)
def test_each_system_trains(finished, random_store, system):
    """Two epochs of a few steps, at a rate that learns; the recipe trains ctc and gm_ot."""
    exp_dir = finished.exp / system
    store = random_store if system.endswith("random_teacher") else finished.data / "teacher"
    done = script(
        *("train.py", *train_options(finished, system), "--exp-dir", str(exp_dir)),
        *("--num-epochs", "2", "--warmup-steps", "5", "--teacher-store", str(store)),
    )
    assert done.returncode == 0, done.stderr
    losses = [float(x) for x in re.findall(r"train loss ([-0-9.]+), ctc", done.stderr)]
    assert len(losses) == 2 and losses[1] < 0.6 * losses[0]
    decoded = script(
        *("decode.py", "--exp-dir", str(exp_dir), "--prefix", "mini", "--parts", "dev"),
        *("--fbank-dir", str(finished.data / "fbank"), "--lang-dir", str(finished.data / "lang")),
        *("--graph-dir", str(finished.data / "graphs")),
        *("--decoding-methods", "ctc-greedy-search"),
    )
    assert decoded.returncode == 0, decoded.stderr


def test_the_control_asks_for_a_random_teacher(finished):
    refused = script(
        *("train.py", *train_options(finished, "gm_ot_random_teacher")),
        *("--exp-dir", str(finished.exp / "new")),
        *("--teacher-store", str(finished.data / "teacher")),
    )
    assert refused.returncode == 1
    assert "is the control, with random weights" in refused.stderr


def test_transfer_can_start_from_a_ctc_model(finished):
    exp_dir = finished.exp / "pretrained"
    options = (
        *("train.py", *train_options(finished), "--exp-dir", str(exp_dir)),
        *("--teacher-store", str(finished.data / "teacher")),
        *("--num-epochs", "1", "--base-lr", "0", "--init-from", "start.pt"),
    )
    shutil.copy(finished.exp / "ctc" / "epoch-2.pt", finished.exp / "start.pt")
    done = script(*options)
    assert done.returncode == 0, done.stderr
    before = torch.load(finished.exp / "ctc" / "epoch-2.pt")["model"]
    after = torch.load(exp_dir / "epoch-1.pt")["model"]
    assert set(after) - set(before) == {name for name in after if name.startswith("adapter.")}
    assert all(torch.equal(after[name], before[name]) for name in before)

    # Other weights of the same name are not what it was started from.
    assert script(*options).returncode == 0
    shutil.copy(finished.exp / "ctc" / "epoch-1.pt", finished.exp / "start.pt")
    refused = script(*options)
    assert refused.returncode == 1
    assert "made with another configuration" in refused.stderr
    assert "started_from" in refused.stderr


def test_couplings_of_a_trained_system(finished, tmp_path):
    options = [
        *("--prefix", "mini", "--fbank-dir", str(finished.data / "fbank")),
        *("--teacher", str(finished.cache / "gmot/mini/teacher")),
        *("--output", str(tmp_path / "coupling.png")),
    ]
    drawn = script(
        "plot_coupling.py",
        "--exp-dir",
        str(finished.exp / "gm_ot"),
        "--teacher-layer",
        "6",
        *options,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "coupling.png").read_bytes().startswith(b"\x89PNG")
    swept = script(
        *("plot_coupling.py", "--sweep", "--sweep-utterances", "3"),
        *("--alphas", "0", "0.5", "--rhos", "0", "3", "--betas", "0.1", "3"),
        *("--exp-dir", str(finished.exp / "gm_ot"), "--teacher-layer", "6"),
        *(*options[:-1], str(tmp_path / "sweep.png")),
    )
    assert swept.returncode == 0, swept.stderr
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    report = (tmp_path / "sweep.md").read_text(encoding="utf-8")
    assert report.count("**larger ") == 4 and "a more diffuse coupling: holds" in report
    other = script(
        "plot_coupling.py",
        "--exp-dir",
        str(finished.exp / "gm_ot"),
        "--teacher-layer",
        "5",
        *options,
    )
    assert other.returncode == 1 and "is not the teacher" in other.stderr
    none = script("plot_coupling.py", "--exp-dir", str(finished.exp / "ctc"), *options)
    assert none.returncode == 1 and "no transport to draw" in none.stderr
