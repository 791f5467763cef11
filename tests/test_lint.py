"""The linters are part of the tests, so that one command tells whether a change is ready."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tool(name: str) -> str:
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (requirements/dev.txt)")
    return path


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(arguments):
    result = subprocess.run(
        [tool("ruff"), *arguments, "."], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert result.returncode == 0, result.stdout


def test_shellcheck():
    patterns = ("shared/*.sh", "tests/*.sh", "egs/*/*.sh", "local/*.sh")
    scripts = [p for pattern in patterns for p in sorted(ROOT.glob(pattern))]
    assert len(scripts) >= 8
    scripts.append(ROOT / ".ci" / "run")
    result = subprocess.run(
        [tool("shellcheck"), "--external-sources", "--source-path=SCRIPTDIR", *map(str, scripts)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert result.returncode == 0, result.stdout
