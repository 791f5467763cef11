"""Linters and type checker, so that one command tells whether a change is ready."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *arguments: str) -> None:
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (requirements/dev.txt)")
    result = subprocess.run(
        [path, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(arguments):
    run("ruff", *arguments, ".")


def test_mypy(tmp_path):
    run("mypy", "--cache-dir", str(tmp_path))


def test_shellcheck():
    patterns = ("shared/*.sh", "tests/*.sh", "egs/*/*.sh", "egs/*/local/*.sh")
    scripts = [p for pattern in patterns for p in sorted(ROOT.glob(pattern))]
    assert len(scripts) >= 8
    scripts.append(ROOT / ".ci" / "run")
    run("shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *map(str, scripts))
