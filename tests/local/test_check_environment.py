"""local/check_environment.py tells what is here and how to mend what is not."""

import ast
import runpy
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "local" / "check_environment.py"


def check(python, *options):
    return subprocess.run(
        [str(python), str(SCRIPT), *options], stdout=subprocess.PIPE, text=True, timeout=120
    )


def test_it_agrees_with_the_python_that_runs_it():
    result = check(sys.executable)
    try:
        import k2  # noqa: F401
    except ImportError:
        assert result.returncode == 1
        assert "two pairs of torch and k2" in result.stdout
        assert result.stdout.splitlines()[-1].startswith("verdict: all but k2")
    else:
        assert result.returncode == 0
        assert result.stdout.splitlines()[-1] == "verdict: all the recipes need is here"


def test_it_runs_where_nothing_is_installed(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    result = check(tmp_path / "bare" / "bin" / "python")
    assert result.returncode == 1
    verdict = result.stdout.splitlines()[-1]
    assert verdict.startswith("verdict: missing: ")
    found = verdict.replace(".", ",").replace(" ", ",").split(",")
    assert {"torch", *runpy.run_path(str(SCRIPT))["NEEDED"]} <= set(found)
    assert "bash shared/environment.sh" in verdict


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_report_is_a_line(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    report = check(sys.executable, "--gpu").stdout.splitlines()
    (line,) = [line for line in report if line.startswith("gpu ")]
    assert "none" in line and "CPU" in line and report[-1].startswith("verdict: ")


def test_gpu_report_without_torch_is_a_line(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    result = check(tmp_path / "bare" / "bin" / "python", "--gpu")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("gpu ")]
    assert "torch" in line


@pytest.mark.skipif(sys.version_info < (3, 10), reason="needs the list of standard modules")
def test_it_names_everything_that_is_imported():
    root = SCRIPT.parents[1]
    files = [f for g in ("gmot/**/*.py", "local/*.py", "egs/*/local/*.py") for f in root.glob(g)]
    imported = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(name.name.split(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    assert {"torch", "lhotse", "onnxruntime"} <= imported
    imported -= set(sys.stdlib_module_names)
    imported -= {file.stem for file in root.glob("egs/*/local/*.py")}  # neighbours
    # torch and k2 are looked at apart, triton comes with torch 2; misaki is read out of its wheel.
    imported -= {"gmot", "torch", "k2", "triton", "misaki"}
    names = {"yaml": "PyYAML"}
    script = runpy.run_path(str(SCRIPT))
    needed = {*script["NEEDED"], *script["OPTIONAL"], "kaldilm"}
    assert {names.get(name, name) for name in imported} <= needed


@pytest.mark.parametrize(
    ("version", "python", "line"),
    [
        ("1.13.1+cu117", (3, 11), "pip install --no-deps -r requirements/k2.txt"),
        ("1.13.1", (3, 9), "pip install --no-deps -r requirements/k2.txt"),
        ("1.13.1", (3, 8), "bash shared/environment.sh"),
        ("2.13.0", (3, 11), "pip install -r requirements/cuda12.txt"),
        (None, (3, 11), "bash shared/environment.sh"),
    ],
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="k2's wheels are for Linux")
def test_the_remedy_fits_the_torch_that_is_here(version, python, line):
    remedy = runpy.run_path(str(SCRIPT))["remedy"]
    assert line in remedy(version, python)
