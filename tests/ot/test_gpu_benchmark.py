"""benchmarks/gpu.py, as it runs on a card, by Triton's interpreter on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gmot.ot.kernels import verification

pytest.importorskip("triton")
pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def verdict(tmp_path, monkeypatch):
    """Puts a verdict into a cache of the test's own: the comparison has its own tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def keep(reason):
        key = verification.make_key(torch.device("cpu"))
        path = verification._path(key)
        path.parent.mkdir(parents=True)
        content = {"reason": reason, "key": key, "differences": {}}
        path.write_text(json.dumps(content))

    return keep


def run(folder, *systems):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--small", "--skip-tests"]
    command += ["--systems", *systems, "--output", str(folder / "found")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    return done, json.loads((folder / "found.json").read_text())


def test_steps_of_the_kernel_agree_with_torch(verdict, tmp_path):
    verdict(None)
    done, found = run(tmp_path, "ctc", "gm_ot")
    assert done.returncode == 0, done.stderr
    ctc, gm_ot = found["steps"]
    assert (ctc["launches"], gm_ot["launches"]) == (0, 1)
    assert gm_ot["loss_torch"] != ctc["loss_torch"]
    assert 0 < gm_ot["gradient_difference"] < 1e-3  # other code, the same plan
    (timing,) = found["timings"]
    assert timing["system"] == "gm_ot" and timing["cuda"] > 0 and timing["torch"] > 0
    table = (tmp_path / "found.md").read_text()
    assert f"| gm_ot | 1 | {gm_ot['loss_torch']:.6f} |" in table


def test_a_kernel_that_is_not_used_is_a_failure(verdict, tmp_path):
    verdict("it crashed with SIGSEGV")
    done, found = run(tmp_path, "hcm", "uot")
    assert done.returncode == 1
    assert "steps without the kernel: uot" in done.stderr and "SIGSEGV" in done.stderr
    assert [row["launches"] for row in found["steps"]] == [0, 0]


def test_without_a_gpu_it_says_how_to_try(verdict, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "TRITON_INTERPRET=1" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
