"""Trainings by ``local/train.py`` on a corpus of noise, as a user runs them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from small_bert import save_small_bert

from benchmarks.rows import FILES

ROOT = Path(__file__).resolve().parents[1]
PAPER = ROOT / "shared" / "conf" / "paper.yaml"
CHARACTERS = "今天气好"
MODEL = {
    "d_model": 16, "num_heads": 2, "ffn_dim": 16, "num_layers": 1, "kernel_size": 3,
    "subsampling_channels": 2, "dropout": 0.0,
}  # fmt: skip


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    return {**kept, "OMP_NUM_THREADS": "1"}


def script(name: str, *arguments: Any, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "local" / f"{name}.py"), *map(str, arguments)]
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120}
    return subprocess.run(command, cwd=cwd, env=environment(), **options)


def prepare(folder: Path, texts: Mapping[str, Sequence[str]]) -> str:
    """Stages 1 to 4 and 7 of the splits, the last of both layers of the teacher; stage 7's log."""
    generator = torch.Generator().manual_seed(0)
    for split, lines in texts.items():
        corpus = folder / "corpus" / split
        corpus.mkdir(parents=True)
        ids = [f"{split}{i:02d}" for i in range(len(lines))]
        for i, name in enumerate(ids):
            noise = 0.1 * torch.randn(16000 + 4000 * (i % 5), generator=generator)
            soundfile.write(corpus / f"{name}.wav", noise.numpy(), 16000)
        for file, values in (("wav.scp", [f"{name}.wav" for name in ids]), ("text", lines)):
            content = "".join(f"{name} {value}\n" for name, value in zip(ids, values))
            (corpus / file).write_text(content, encoding="utf-8")
    save_small_bert(folder / "bert", list(CHARACTERS))
    prefix, splits = ("--prefix", "toy"), ("--splits", *texts)
    manifests, taught = ("--manifest-dir", "manifests"), ("--lang-dir", "lang", "--teacher", "bert")
    log = ""
    for name, *options in (
        ("prepare_manifests", *prefix, *splits, *manifests, "--corpus-dir", "corpus"),
        ("compute_fbank", *prefix, *splits, *manifests, "--fbank-dir", "fbank"),
        ("validate_manifests", *prefix, *splits, "--fbank-dir", "fbank"),
        ("prepare_lang", *prefix, *manifests, *taught),
        ("compute_teacher", *prefix, *manifests, *taught, "--store", "teacher"),
    ):
        done = script(name, *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        log = done.stderr
    return log


def train_options(row: str, *options: Any, exp: str) -> list[str]:
    """Options of ``local/train.py`` for a configuration of the papers with a tiny model."""
    shape = [f"--model.{key}={value}" for key, value in MODEL.items()]
    store = ("--teacher-store", "teacher") if row.startswith(("gm_ot", "hcm")) else ()
    return [
        *("--config", str(PAPER), "--config", str(FILES[row]), "--exp-dir", exp, *shape, *store),
        *("--data.update-duration", "null", "--data.max-duration", "3", "--prefix", "toy"),
        *("--fbank-dir", "fbank", "--lang-dir", "lang", "--teacher", "bert", "--device", "cpu"),
        *("--training.num-epochs", "1", "--training.warmup-steps", "5", *map(str, options)),
    ]


def start(
    folder: Path, options: Sequence[str], torchrun: Sequence[str] = (), **settings: Any
) -> subprocess.Popen:
    """Start a training, by torchrun if options of it are given."""
    launcher = ["-m", "torch.distributed.run", *torchrun] if torchrun else []
    command = [sys.executable, *launcher, str(ROOT / "local" / "train.py"), *options]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment(), **pipes, **settings)


def finish(process: subprocess.Popen, status: int = 0) -> str:
    """Output of a training that ends with a status."""
    output, _ = process.communicate(timeout=180)
    assert process.returncode == status, output
    return output


def run(folder: Path, options: Sequence[str], torchrun: Sequence[str] = (), **settings: Any) -> str:
    """Output of a finished training."""
    status = settings.pop("status", 0)
    return finish(start(folder, options, torchrun, **settings), status)


def scalars(exp_dir: Path, tag: str) -> dict[int, float]:
    """Values of a tag in the TensorBoard of a training, by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(exp_dir / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}
