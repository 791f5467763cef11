import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_readmes_python_runs(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_files_that_the_readme_names_are_there():
    named = re.findall(r"(?:egs|local|shared|tests|docs|gmot|requirements)/[\w./]*\.\w+", README)
    assert len(named) > 5
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_the_two_commands_stand_in_the_readme():
    commands = re.findall(r"^    (bash \S+)", README, re.MULTILINE)
    assert commands == ["bash egs/mini/run.sh", "bash tests/run.sh"]
