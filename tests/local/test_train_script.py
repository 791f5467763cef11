"""local/train.py on a small corpus of noise, as a user runs it."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from small_bert import save_small_bert

from benchmarks.rows import FILES, load_row

pytest.importorskip("transformers")
soundfile = pytest.importorskip("soundfile")

ROOT = Path(__file__).resolve().parents[2]
PAPER = ROOT / "shared" / "conf" / "paper.yaml"
TEXTS = {"train": ["今天好", "天气好", "今天天气好"], "dev": ["今天", "好天气"]}
# What third parties print of matters that a user cannot change.
FOREIGN = ("huggingface/tokenizers", "Warning:", "TensorFlow", "site-packages")


def script(name, *arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    return subprocess.run(
        [sys.executable, str(ROOT / "local" / f"{name}.py"), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Stages 1 to 4 and 7, the last of both layers of the teacher."""
    folder = tmp_path_factory.mktemp("train")
    generator = torch.Generator().manual_seed(0)
    for part, texts in TEXTS.items():
        (folder / "corpus" / part).mkdir(parents=True)
        for i in range(len(texts)):
            noise = 0.1 * torch.randn(16000 + 4000 * i, generator=generator)
            soundfile.write(folder / "corpus" / part / f"{part}{i}.wav", noise.numpy(), 16000)
        for name, values in (("wav.scp", [f"{part}{i}.wav" for i in range(9)]), ("text", texts)):
            lines = "".join(f"{part}{i} {v}\n" for i, (v, _) in enumerate(zip(values, texts)))
            (folder / "corpus" / part / name).write_text(lines, encoding="utf-8")
    save_small_bert(folder / "bert", list("今天气好"))
    prefix, parts = ("--prefix", "toy"), ("--splits", "train", "dev")
    manifests = ("--manifest-dir", "manifests")
    printed = ""
    for name, *options in (
        ("prepare_manifests", *prefix, *parts, *manifests, "--corpus-dir", "corpus"),
        ("compute_fbank", *prefix, *parts, *manifests, "--fbank-dir", "fbank"),
        ("validate_manifests", *prefix, *parts, "--fbank-dir", "fbank"),
        ("prepare_lang", *prefix, *manifests, "--lang-dir", "lang", "--teacher", "bert"),
        ("compute_teacher", *prefix, *manifests, "--teacher", "bert", "--store", "teacher"),
    ):
        done = script(name, *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        printed += done.stderr if name == "compute_teacher" else ""
    assert "layer 2 of 2" in printed
    assert not [word for word in FOREIGN if word in printed], printed
    return folder


def train(data, row, *options, exp="exp"):
    model = {"d_model": 16, "num_heads": 2, "ffn_dim": 16, "num_layers": 1, "kernel_size": 3}
    shape = [f"--model.{key}={value}" for key, value in model.items()]
    shape += ["--model.subsampling-channels", "2", "--data.max-duration", "3"]
    store = ("--teacher-store", "teacher") if row.startswith("gm_ot") else ()
    return script(
        *("train", "--config", PAPER, "--config", FILES[row], "--exp-dir", f"{exp}/{row}"),
        *(*shape, *store, "--prefix", "toy", "--fbank-dir", "fbank", "--lang-dir", "lang"),
        *("--teacher", "bert", "--training.num-epochs", "1", "--training.warmup-steps", "5"),
        *options,
        cwd=data,
    )


def test_runs_configuration_and_layer_are_recorded(data):
    """A training with options of its own, resumed, and decoded."""
    chosen = ("--model.positions", "absolute", "--transfer.final-sinkhorn", "true")
    chosen += ("--transfer.alpha", "0.03", "--teacher-layer", "last")
    for epochs in ("1", "2"):
        more = ("--training.num_epochs", epochs, "--data.num_workers", "1")
        done = train(data, "gm_ot", *chosen, *more)
        assert done.returncode == 0, done.stderr
        assert "above_tolerance" in done.stderr
        assert not [word for word in FOREIGN if word in done.stderr], done.stderr
    exp_dir = data / "exp" / "gm_ot"
    kept = json.loads((exp_dir / "config.json").read_text(encoding="utf-8"))
    assert [run["first_epoch"] for run in kept["runs"]] == [1, 2]
    assert [run["arguments"]["training"]["num_epochs"] for run in kept["runs"]] == [1, 2]
    config = torch.load(exp_dir / "epoch-2.pt")["config"]
    assert config["model"]["positions"] == "absolute"
    expected = load_row("gm_ot", final_sinkhorn=True, alpha=0.03)
    assert config["transfer"] == asdict(expected)
    assert config["teacher_layer"] == {"number": 2, "of": 2}

    refused = train(data, "gm_ot", "--training.num-epochs", "3")
    message = refused.stderr.splitlines()[-1]
    assert refused.returncode == 1
    for fact in ("model.positions", "transfer.alpha: 0.03 there, 0.02 here", "final_sinkhorn"):
        assert fact in message
    assert "num_epochs" not in message and "num_workers" not in message

    decoded = script(
        *("decode", "--exp-dir", exp_dir, "--prefix", "toy", "--fbank-dir", "fbank"),
        *("--lang-dir", "lang", "--splits", "dev", "--avg", "2"),
        cwd=data,
    )
    assert decoded.returncode == 0, decoded.stderr
    (record,) = json.loads((exp_dir / "results.json").read_text(encoding="utf-8"))
    assert record["teacher_layer"] == {"number": 2, "of": 2}
    assert record["transfer"]["final_sinkhorn"] is True
    assert len(record["training"]["runs"]) == 2
    summary = script(
        *("summarize_results", "--exp-dir", "exp", "--experiments", "gm_ot", "--output", "R.md"),
        cwd=data,
    )
    assert summary.returncode == 0, summary.stderr
    assert "Teacher: gm_ot layer 2 of 2." in summary.stdout
    text = (data / "R.md").read_text(encoding="utf-8")
    assert "final_sinkhorn" in text and text.count("- trained by") == 2


def test_the_adapter_alone_needs_no_teachers_features(data):
    done = train(data, "ctc_adapter")
    assert done.returncode == 0, done.stderr
    config = torch.load(data / "exp" / "ctc_adapter" / "epoch-1.pt")["config"]
    assert config["teacher"] is None and config["model"]["teacher_dim"] == 32


@pytest.mark.parametrize(
    ("row", "options", "status", "facts"),
    [
        ("gm_ot", ("--teacher-layer", "1"), 1, ("layer 2 of 2", "--teacher-layer")),
        ("gm_ot", ("--teacher-layer", "x"), 2, ("--teacher-layer", "x")),
        ("ctc", ("--transfer.final-sinkhorn", "true"), 2, ("--transfer.final_sinkhorn", "True")),
        ("gm_ot", ("--transfer.alhpa", "1"), 2, ("--transfer.alhpa", "--transfer.alpha")),
        ("gm_ot", ("--transfer.alpha", "much"), 2, ("--transfer.alpha", "number", "much")),
        ("gm_ot", ("--transfer.alpha", "3"), 2, ("--transfer.alpha", "0 to 1", "3")),
        ("gm_ot", ("--model.num-heads", "5"), 2, ("model.d_model", "5")),
    ],
)
def test_options_that_do_not_fit_are_refused(data, row, options, status, facts):
    refused = train(data, row, *options, exp="exp/none")
    assert refused.returncode == status and "Traceback" not in refused.stderr
    assert all(fact in refused.stderr.splitlines()[-1] for fact in facts), refused.stderr
