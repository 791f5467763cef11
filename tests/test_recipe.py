"""The mini recipe from its archives to results on 24 utterances, killed on the way and not."""

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
NUM_EPOCHS = 6
NAMES = [f"{name}_num_epochs{NUM_EPOCHS}" for name in ("ctc", "gm_ot")]


class Recipe:
    """``egs/mini/run.sh --size tiny --model tiny`` with folders of its own."""

    def __init__(self, folder: Path, cache: Path):
        self.folder, self.cache = folder, cache
        self.data = folder / "data" / "tiny"
        self.exp = folder / "exp" / "tiny" / "tiny"
        self.teacher = cache / "gmot" / "mini" / "teacher"
        self.log = folder / "log.txt"
        folder.mkdir()

    def start(self, *options: str) -> subprocess.Popen:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with open(self.log, "a", encoding="utf-8") as log:
            return subprocess.Popen(
                [
                    *("bash", str(ROOT / "egs/mini/run.sh"), "--venv", "none"),
                    *("--size", "tiny", "--model", "tiny", "--avg", "2"),
                    *("--data-dir", str(self.folder / "data")),
                    *("--exp-dir", str(self.folder / "exp")),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, "XDG_CACHE_HOME": str(self.cache)},
                start_new_session=True,  # so that a kill includes the children
            )

    def run(self, *options: str) -> str:
        """Returns what this run printed."""
        before = self.log.stat().st_size if self.log.exists() else 0
        status = self.start(*(options or self.epochs)).wait(timeout=600)
        printed = self.log.read_bytes()[before:].decode()
        assert status == 0, printed[-4000:]
        return printed

    epochs = ("--training.num_epochs", str(NUM_EPOCHS))

    def kill_when(self, condition) -> None:
        """SIGKILL to the run and all its processes once ``condition()`` holds."""
        process = self.start(*self.epochs)
        deadline = time.time() + 300
        while not condition():
            assert process.poll() is None, self.log.read_text()[-4000:]
            assert time.time() < deadline, "the moment to kill never came"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(ProcessLookupError):  # until the children are reaped, too
            while time.time() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(0.01)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("recipe")
    recipe = Recipe(folder / "whole", folder / "cache")
    recipe.printed = recipe.run()
    return recipe


def features(recipe):
    data = AsrDataModule(recipe.data / "fbank", "mini")
    return {
        name: matrix[:length]
        for split in ("train", "dev", "test")
        for batch in data.eval_dataloader(split)
        for name, matrix, length in zip(batch.ids, batch.features, batch.lengths)
    }


def test_results_are_complete(finished):
    for name in NAMES:
        folder = finished.exp / name
        assert (folder / f"epoch-{NUM_EPOCHS}.pt").is_file()
        assert list((folder / "tensorboard").iterdir())
        records = json.loads((folder / "results.json").read_text())
        found = {(r["split"], r["method"]): r for r in records}
        assert set(found) == {(split, m) for split in ("dev", "test") for m in METHODS}
        for record in records:
            score = record["scores"]["CER"]
            low, high = score["intervals"]["utterance"]
            assert low <= score["rate"] <= high
            assert score["num_utterances"] == 4
        for method in METHODS:
            names = {p.name.split("-")[0] for p in (folder / method).iterdir()}
            assert names == {"recogs", "errs", "cer"}
    table = (finished.exp / "RESULTS.md").read_text()
    assert all(name in table and name in finished.printed for name in NAMES)


def test_h_agrees_with_greedy(finished):
    pytest.importorskip("k2")
    for name in NAMES:
        greedy, ctc = (
            {p.name: p.read_text() for p in (finished.exp / name / method).glob("recogs-*")}
            for method in ("ctc-greedy-search", "ctc-decoding")
        )
        assert greedy == ctc


def test_a_second_run_repeats_nothing(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*.pt")}
    stages = re.findall(r"Stage \d+ .*", finished.run())
    # 0 and 5 twice; training, decoding and report of both experiments.
    number = 15 + 2 * (ROOT / "local" / "make_report.py").exists()
    assert len(stages) == number
    assert sum(line.endswith("up to date") for line in stages) == number - (not HAS_K2)
    assert {p: p.stat().st_mtime_ns for p in finished.folder.rglob("*.pt")} == before


def test_killed_three_times_it_ends_with_the_same_products(finished, tmp_path):
    recipe = Recipe(tmp_path / "killed", finished.cache)
    recipe.kill_when(lambda: (recipe.data / "corpus").exists())
    recipe.kill_when(lambda: list((recipe.data / "fbank").glob("**/*")))
    assert not (recipe.data / ".stages" / "fbank.done").exists()
    gm_ot = recipe.exp / NAMES[1]
    recipe.kill_when(lambda: (gm_ot / "epoch-1.pt").exists())
    assert not (gm_ot / f"epoch-{NUM_EPOCHS}.pt").exists()
    recipe.run()

    ours, theirs = features(recipe), features(finished)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name in NAMES:
        file = f"{name}/epoch-{NUM_EPOCHS}.pt"
        models = [torch.load(r.exp / file)["model"] for r in (recipe, finished)]
        assert models[0].keys() == models[1].keys()
        assert all(torch.equal(models[0][k], models[1][k]) for k in models[0])
        for path in (finished.exp / name).glob("*/recogs-*"):
            same = recipe.exp / path.relative_to(finished.exp)
            assert same.read_text() == path.read_text()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_the_experiments_of_the_family_train_and_decode(finished):
    """All configurations of the recipe but the two above; the random teacher has its own store."""
    files = sorted((ROOT / "egs/mini/conf").glob("*.yaml"))
    names = [path.stem for path in files if path.stem not in ("ctc", "gm_ot")]
    printed = finished.run(
        *(f"--config=conf/{name}.yaml" for name in names),
        *("--decoding.methods", "ctc-greedy-search"),
    )
    assert "gm_ot_random_teacher" in names and "Stage 7 teacher_random: done" in printed
    for name in names:
        log = next((finished.exp / name / "log").iterdir()).read_text(encoding="utf-8")
        losses = [float(x) for x in re.findall(r"epoch \d/2: loss ([-0-9.]+)", log)]
        assert len(losses) == 2 and losses[1] < losses[0], name
        assert json.loads((finished.exp / name / "results.json").read_text())


def test_seeds_are_trained_at_a_time_and_summarized(finished):
    printed = finished.run(
        *("--config=conf/ctc.yaml", "--seeds", "1 2", "--jobs", "2"),
        *("--training.num_epochs", "1", "--decoding.methods", "ctc-greedy-search"),
    )
    folders = [finished.exp / f"ctc_num_epochs1_seed{seed}" for seed in (1, 2)]
    models = [torch.load(folder / "epoch-1.pt")["model"] for folder in folders]
    assert any(not torch.equal(models[0][name], models[1][name]) for name in models[0])
    seeds = [json.loads((folder / "results.json").read_text())[0]["seed"] for folder in folders]
    assert seeds == [1, 2]
    table = (finished.exp / "RESULTS.md").read_text()
    assert "ctc_num_epochs1 (2 seeds)" in table and "ctc_num_epochs1 (2 seeds)" in printed
    assert "±" in table and "training seeds (1, 2)" in printed
    assert "epoch 1/1: loss" not in printed
    assert all("epoch 1/1: loss" in (folder / "log/run.log").read_text() for folder in folders)


def script(name: str, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / name), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def train(recipe, folder, *options, config="gm_ot"):
    store = () if config == "ctc" else ("--teacher-store", str(recipe.data / "teacher"))
    return script(
        "local/train.py",
        *("--config", str(ROOT / "shared/conf/tiny.yaml")),
        *("--config", str(ROOT / f"egs/mini/conf/{config}.yaml")),
        *("--prefix", "mini", "--fbank-dir", str(recipe.data / "fbank")),
        *("--lang-dir", str(recipe.data / "lang"), "--teacher", str(recipe.teacher)),
        *(*store, "--exp-dir", str(folder), *options),
    )


def test_another_configuration_is_refused(finished):
    """Resuming, starting from and learning from what does not fit."""
    epochs = ("--training.num_epochs", str(NUM_EPOCHS))
    resumed = train(finished, finished.exp / NAMES[1], *epochs, "--model.dropout", "0.3")
    assert resumed.returncode == 1
    assert all(fact in resumed.stderr for fact in ("dropout", "0.3", "0.1"))

    new = finished.exp / "new"
    other = train(finished, new, "--model.d_model", "96", "--init-from", f"{NAMES[0]}/epoch-6.pt")
    assert other.returncode == 1
    assert f"{NAMES[0]}/epoch-6.pt" in other.stderr

    untaught = train(finished, new, "--teacher-store", str(finished.data / "lang"))
    assert untaught.returncode == 1
    control = train(finished, new, config="gm_ot_random_teacher")
    assert control.returncode == 1
    assert "random" in control.stderr
    assert not list(new.glob("*.pt"))
    assert all("Traceback" not in r.stderr for r in (resumed, other, untaught, control))


def test_transfer_starts_from_a_ctc_model(finished):
    exp_dir = finished.exp / "pretrained"
    options = ("--training.num_epochs", "1", "--training.base_lr", "0", "--init-from", "start.pt")
    ctc = finished.exp / NAMES[0]
    shutil.copy(ctc / "epoch-6.pt", finished.exp / "start.pt")
    done = train(finished, exp_dir, *options)
    assert done.returncode == 0, done.stderr
    before = torch.load(ctc / "epoch-6.pt")["model"]
    after = torch.load(exp_dir / "epoch-1.pt")["model"]
    assert set(after) - set(before) == {name for name in after if name.startswith("adapter.")}
    assert all(torch.equal(after[name], before[name]) for name in before)

    # Other weights of the same name are another start.
    assert train(finished, exp_dir, *options).returncode == 0
    shutil.copy(ctc / "epoch-5.pt", finished.exp / "start.pt")
    refused = train(finished, exp_dir, *options)
    assert refused.returncode == 1
    assert "started_from" in refused.stderr


def test_couplings_of_a_trained_experiment(finished, tmp_path):
    def draw(name, output, *options, program="local/plot_coupling.py"):
        return script(
            *(program, "--exp-dir", str(finished.exp / name), "--prefix", "mini"),
            *("--fbank-dir", str(finished.data / "fbank"), "--teacher", str(finished.teacher)),
            *("--lang-dir", str(finished.data / "lang")),
            *("--output", str(tmp_path / output), *options),
        )

    drawn = draw(NAMES[1], "coupling.png", "--teacher-layer", "6")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "coupling.png").read_bytes().startswith(b"\x89PNG")
    grid = ("--alphas", "0", "0.5", "--rhos", "0", "3", "--betas", "0.1", "3")
    options = ("--num-utterances", "3", *grid)
    swept = draw(NAMES[1], "sweep.png", *options, program="benchmarks/figure3.py")
    assert swept.returncode == 0, swept.stderr
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sweep.md").stat().st_size > 0
    assert draw(NAMES[1], "other.png", "--teacher-layer", "5").returncode == 1
    assert draw(NAMES[0], "none.png").returncode == 1
    assert not list(tmp_path.glob("[on]*.png"))
