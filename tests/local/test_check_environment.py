"""local/check_environment.py: what is installed, and how to get what is not."""

import ast
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

from gmot.bin.check_environment import needed, remedy

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "local" / "check_environment.py"


def check(python, *options):
    return subprocess.run(
        [str(python), str(SCRIPT), *options], stdout=subprocess.PIPE, text=True, timeout=120
    )


def test_it_agrees_with_the_python_that_runs_it():
    result = check(sys.executable)
    verdict = result.stdout.splitlines()[-1]
    try:
        import k2  # noqa: F401
    except ImportError:
        assert result.returncode == 1
        assert "--set pypi" in result.stdout and "--set modern" in result.stdout
        assert verdict.startswith("verdict: all but k2")
    else:
        assert result.returncode == 0
        assert verdict.startswith("verdict: everything")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def test_without_any_package(bare_python):
    result = check(bare_python, "--gpu")
    assert result.returncode == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("gpu ")]
    assert "torch" in line
    verdict = result.stdout.splitlines()[-1]
    assert verdict.startswith("verdict: missing: ") and "bash shared/environment.sh" in verdict
    found = verdict.replace(".", ",").replace(" ", ",").split(",")
    assert {"torch", "lhotse", *needed()} <= set(found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_report_is_a_line(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    report = check(sys.executable, "--gpu").stdout.splitlines()
    (line,) = [line for line in report if line.startswith("gpu ")]
    assert "none" in line and "CPU" in line and report[-1].startswith("verdict: ")


def test_requirements_name_every_package_that_is_imported():
    files = [f for g in ("gmot/**/*.py", "local/*.py", "egs/*/local/*.py") for f in ROOT.glob(g)]
    imported = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(name.name.split(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    assert {"torch", "lhotse"} <= imported
    imported -= set(sys.stdlib_module_names)
    imported -= {file.stem for file in ROOT.glob("egs/*/local/*.py")}  # neighbours
    # Of the set itself, of numba, and of a wheel that make_speech.py unpacks.
    imported -= {"gmot", "torch", "k2", "triton", "llvmlite", "misaki"}
    lines = [
        line.split()[0].split("[")[0].split(">")[0].split("=")[0]
        for name in ("recipe.in", "synthesis.in", "cluster.in")
        for line in (ROOT / "requirements" / name).read_text().splitlines()
        if line and line[0] != "#"
    ]
    names = {line.lower().replace("-", "_") for line in lines}
    assert {{"yaml": "pyyaml"}.get(name, name) for name in imported} <= names


@pytest.mark.parametrize(
    ("version", "python", "line"),
    [
        ("1.13.1+cu117", (3, 11), "-r requirements/k2.txt"),
        ("1.13.1", (3, 10), "-r requirements/k2.txt"),
        ("2.13.0", (3, 11), "--set modern"),
        (None, (3, 12), "--set pypi"),
    ],
)
def test_the_remedy_fits_the_torch_that_is_here(version, python, line):
    assert line in remedy(version, python)
