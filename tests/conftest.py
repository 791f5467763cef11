"""Its being here puts ``tests/`` on the path: tests import ``audio``, ``oracles``, and so on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bash(tmp_path):
    """Run a piece of shell (or a script with arguments) and return the finished process.

    Its ``python`` is the one that runs the tests; its folder is a fresh one.
    """

    def run(*command: str, script: str = "", **environment: str) -> subprocess.CompletedProcess:
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "VIRTUAL_ENV")}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        env.update(environment)
        if script:
            path = tmp_path / "script.sh"
            path.write_text(f"root={ROOT}\n{script}", encoding="utf-8")
            command = (str(path), *command)
        return subprocess.run(
            ["bash", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=env,
            timeout=120,
        )

    return run
