"""The comparison that a kernel must pass before it is used: real processes, real crashes."""

import json
import logging
import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from gmot.ot import kernels, sinkhorn
from gmot.ot import solver as reference
from gmot.ot.kernels import verification, verification_run

pytest.importorskip("triton")
pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
FINISHED = {"step": "finished"}
COST = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0))
# Modules with the ``solve`` of a backend. The reference in float32 stands for a kernel that is
# right; it takes a moment where Triton's interpreter takes ten seconds.
KERNELS = {
    "right": "print('a library prints this')",
    "crashing": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "wrong": "solution = solution._replace(plan=1.01 * solution.plan)",
    "raising": "raise RuntimeError('Triton Error [CUDA]: an illegal address')",
    "hanging": "import time; time.sleep(600)",
}


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    """A cache and verdicts of each test's own; the interpreter stands for the card."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    verification.refusal.cache_clear()
    kernels._replaced.cache_clear()


KERNEL = """
from gmot.ot import solver as reference

def solve(problem, settings):
    solution = reference.solve(problem, settings)
    {}
    return solution
"""


def write_kernel(folder, name):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_kernel.py").write_text(KERNEL.format(KERNELS[name]))
    return f"{name}_kernel"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Of all kernels and the verdict that is then in the cache, compared side by side."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("TRITON_INTERPRET", "1")
        patch.syspath_prepend(str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        modules = {name: write_kernel(folder, name) for name in KERNELS}

        def compare(name):
            timeout = 3 if name == "hanging" else 200
            return verification.verify(CPU, modules[name], timeout=timeout)

        found = dict(zip(KERNELS, pool.map(compare, KERNELS)))
        return {n: (v, verification.read(CPU, modules[n])) for n, v in found.items()}


@pytest.mark.parametrize(
    "name, facts",
    [
        ("right", None),
        ("crashing", ["SIGSEGV", "proximal steps"]),
        ("wrong", ["differs", "0.01", "0.001"]),
        ("raising", ["an illegal address"]),
    ],
)
def test_verdict_of_a_kernel(name, facts, verdicts):
    verdict, kept = verdicts[name]
    assert verdict.is_kept and kept == verdict
    if facts is None:
        assert verdict.reason is None
        assert len(verdict.differences) == 5 and max(verdict.differences.values()) < 1e-3
    else:
        assert all(fact in verdict.reason for fact in facts), verdict.reason


def test_a_kernel_that_hangs_is_ended(verdicts):
    assert "3 s" in verdicts["hanging"][0].reason


@pytest.fixture
def right(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "kernels"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return write_kernel(tmp_path / "kernels", "right")


def processes(monkeypatch):
    """The list of commands that are started from now on."""
    started = []
    real = subprocess.run
    monkeypatch.setattr(
        verification.subprocess, "run", lambda *a, **k: started.append(a) or real(*a, **k)
    )
    return started


def keep(tmp_path, kernel, reason=None, **changes):
    """A verdict in the cache."""
    key = verification.make_key(CPU, kernel)
    path = verification._path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"reason": reason, "key": key, "differences": {}}
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_corrupt_cache_is_compared_again(right, tmp_path, monkeypatch):
    path = keep(tmp_path, right)
    assert verification.read(CPU, right).reason is None
    whole = path.read_bytes()
    corrupt = [b"", whole[:-9], b"[]", b"7", b'{"reason": null}', b"\xff\xfe", b'{"key": 1}']
    for content in corrupt:
        path.write_bytes(content)
        assert verification.read(CPU, right) is None
    for changes in ({"key": {"card": "another"}}, {"reason": 3}, {"more": 1}):
        keep(tmp_path, right, **changes)
        assert verification.read(CPU, right) is None
    started = processes(monkeypatch)
    assert verification.refusal(CPU, right) is None and len(started) == 1
    assert verification.read(CPU, right).differences


def test_verdict_holds_for_its_key_alone(right, tmp_path, monkeypatch):
    keep(tmp_path, right)
    started = processes(monkeypatch)
    assert verification.refusal(CPU, right) is None and not started
    for target, name, value in (
        (torch, "__version__", "2.99.0"),
        (sys.modules["triton"], "__version__", "3.99.0"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            assert verification.read(CPU, right) is None
    with monkeypatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "0")
        assert verification.read(CPU, right) is None
    assert verification.read(CPU, right) is not None
    with (tmp_path / "kernels" / f"{right}.py").open("a") as file:
        file.write("# changed\n")
    assert verification.read(CPU, right) is None


def test_unwritable_cache_costs_a_comparison_per_process(right, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made in it
    started = processes(monkeypatch)
    assert verification.refusal(CPU, right) is None
    assert verification.refusal(CPU, right) is None
    assert len(started) == 1


def test_failures_before_the_kernel_are_not_kept(right, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        site = str(Path(torch.__file__).parents[1])
        patch.setattr(sys, "path", [p for p in sys.path if p != site])
        verdict = verification.verify(CPU, right)
    assert "No module named 'torch'" in verdict.reason and not verdict.is_kept
    assert not (tmp_path / "cache").exists()


def test_plans_that_are_not_finite_differ():
    _, options = verification_run.COMPARED["balanced Sinkhorn"]
    case = verification_run.make_case([(4, 2)], CPU, torch.float32, **options)
    solution = reference.solve(*case)
    assert verification_run.difference(solution, solution) == 0
    for name in ("plan", "error"):
        broken = solution._replace(**{name: getattr(solution, name) * float("nan")})
        distance = verification_run.difference(broken, solution)
        events = [{"step": "the start", "card": None}, {"step": "p", "difference": distance}]
        verdict = verification._judge({"card": "A"}, [*events, FINISHED], "")
        assert "inf" in verdict.reason and verdict.is_kept


def test_output_that_stops_early_is_a_refusal():
    """The process ended with status 0 and without a last word."""
    events = [{"step": "the start", "card": None}, {"step": "a step"}]
    assert "a step" in verification._judge({"card": "A"}, events, "").reason


OUT_OF_MEMORY = """Traceback (most recent call last):
torch.AcceleratorError: CUDA error: out of memory
CUDA kernel errors might be asynchronously reported at some other API call.
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


@pytest.mark.parametrize("status, stderr, fact", [(-9, "", "SIGKILL"), (1, OUT_OF_MEMORY, "CUDA")])
def test_ends_of_other_causes_are_not_kept(status, stderr, fact):
    end = verification._describe_end(status, stderr.encode())
    assert fact in end and "\n" not in end
    events = [{"step": "the start", "card": None}, {"step": "p"}]
    verdict = verification._judge({"card": "A"}, events, end)
    assert fact in verdict.reason and not verdict.is_kept
    assert verification._judge({"card": "A"}, events, "SIGSEGV").is_kept


def test_another_card_is_not_kept():
    """CUDA_VISIBLE_DEVICES was changed by the process after torch had looked."""
    events = [{"step": "the start", "card": "B"}, {"step": "p", "difference": 0.0}, FINISHED]
    verdict = verification._judge({"card": "A"}, events, "")
    assert "A" in verdict.reason and "B" in verdict.reason and not verdict.is_kept
    events[0]["card"] = "A"
    assert verification._judge({"card": "A"}, events, "").reason is None


def test_refused_kernel_is_one_warning_and_torch(tmp_path, caplog):
    keep(tmp_path, verification.KERNEL, reason="it crashed with SIGSEGV")
    with caplog.at_level(logging.INFO, logger="gmot.ot"):
        plans = [sinkhorn(COST, backend="cuda").plan for _ in range(3)]
    assert torch.equal(plans[0], sinkhorn(COST, backend="torch").plan)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "SIGSEGV" in record.getMessage() and "check_environment.py --gpu" in record.getMessage()


def test_auto_warns_of_a_refused_kernel(monkeypatch, caplog):
    cost = types.SimpleNamespace(
        device=torch.device("cuda", 0), dtype=torch.float32, size=lambda _: 3
    )
    problem = types.SimpleNamespace(node_cost=cost)  # no CUDA tensor can be made here
    monkeypatch.setattr(verification, "refusal", lambda device: f"{device} differs")
    assert kernels._choose("auto", problem, None, unroll=False) is reference
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "cuda:0 differs" in record.getMessage()
    monkeypatch.setattr(verification, "refusal", lambda device: None)
    assert kernels._choose("auto", problem, None, unroll=False).__name__ == verification.KERNEL


USE = """
import sys; sys.path.insert(0, sys.argv[1])
import logging; logging.basicConfig(level=logging.INFO, stream=sys.stdout)
import torch
from gmot.ot import sinkhorn
from gmot.ot.kernels import cuda
solve, used = cuda.solve, []
cuda.solve = lambda *case: used.append(1) or solve(*case)
sinkhorn(torch.rand(1, 4, 3), epsilon=1.0, max_iterations=5, backend="cuda")
print("used", len(used))
"""


def test_interpreted_kernel_from_report_to_use(tmp_path):
    """The Triton kernel itself: compared by the report, then used without a word."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "local" / "check_environment.py"), "--gpu"]
    report = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    lines = [line[14:] for line in report.stdout.splitlines() if line.startswith("gpu ")]
    assert len([line for line in lines if "differs from torch by" in line]) == 5, report.stdout
    assert "backend cuda is used" in lines[-1]
    (kept,) = (tmp_path / "cache" / "gmot" / "kernels").glob("*.json")
    before = kept.stat().st_mtime_ns
    command = [sys.executable, "-c", USE, str(ROOT)]
    use = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert use.stdout.splitlines() == ["used 1"], use.stdout + use.stderr
    assert kept.stat().st_mtime_ns == before
