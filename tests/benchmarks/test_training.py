"""Benchmarks of training in small forms, so that they run when they are needed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("transformers")


def benchmark(name, *options):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(text):
    """Text of a page with tables without padding."""
    return re.sub(" +", " ", text)


def test_gpu_page_on_a_cpu(bash, tmp_path):
    page = tmp_path / "gpu.md"
    script = ROOT / "benchmarks" / "gpu.sh"
    options = ("--device", "cpu", "--small", "--output", page)
    done = bash(str(script), *map(str, options), timeout=400, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr + done.stdout
    text = page.read_text()
    assert "A dry run on a CPU" in text and "error" not in text
    found = json.loads(page.with_suffix(".json").read_text())
    assert [row["difference"] for row in found["resume"]] == [0.0]
    assert found["resume"][0]["killed_at"] is not None
    # On torch 1.13 the optimizer is not fused, and asks whether the gradient is finite.
    waits = {row["system"]: row["where"] for row in found["waits"]}
    assert set(waits) == {"ctc", "gm_ot", "uot", "hcm"}
    assert all("gmot/training/optim.py" in place for where in waits.values() for place in where)
    hours = benchmark("scale", "--size", "tiny", "--gpu", page.with_suffix(".json"))
    assert "| CPU, float32 | 8 | PCIe 4, 20 GB/s |" in cells(hours)


def test_throughput_and_its_section(tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n\n## Other\n\ntext\n")
    options = ("--sizes", "tiny", "--batches", 1, "--rounds", 1, "--systems", "ctc", "gm_ot")
    for _ in range(2):
        benchmark("throughput", *options, "--seconds", 4, "--output", page)
    text = cells(page.read_text())
    assert text.startswith("# Speed\n\n## Other\n\ntext\n")
    assert text.count("## Steps of tiny on cpu, 1 thread\n") == 1
    assert "| gm_ot |" in text and "| transport |" in text
    assert "transformers Wav2Vec2Conformer" in text


def test_steps_beside_other_jobs(tmp_path):
    page = tmp_path / "speed.md"
    options = ("--jobs", 1, "--rounds", 1, "--seconds", 0.1, "--size", "tiny", "--output", page)
    benchmark("shared_cores", *options)
    assert "| 2 threads, spinning for a short time (gmot) |" in cells(page.read_text())
