"""Shared fixtures, and the three kinds of tests: unit, integration, recipe.

This file puts ``tests/`` on the import path: tests import ``audio``, ``oracles``, and so on.
"""

import multiprocessing.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The imports of both start a process, matplotlib's where it has no list of the fonts yet.
import matplotlib.font_manager  # noqa: F401
import numpy.testing  # noqa: F401
import pytest

from gmot.common import use_avx2_in_mkl

use_avx2_in_mkl()
ROOT = Path(__file__).resolve().parents[1]

# Folders and files whose tests start processes (scripts, or kaldilm in a process of its own), or
# compare with slow oracles.
INTEGRATION = (
    *(
        "browser/",
        "shell/",
        "local/",
        "egs/",
        "aishell/",
        "known_issues/",
        "benchmarks/",
        "test_readme.py",
    ),
    *(f"decode/test_{name}.py" for name in ("api", "decoding_graphs", "lattice", "split")),
    *("decode/test_topology.py", "evaluation/test_bootstrap.py", "transfer/test_convergence.py"),
    *("training/test_runs.py", "ot/test_backend_geomloss.py"),
    "ot/test_unbalanced_gromov.py",
)
_running_unit_test = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as "unit" every test that is neither "integration" nor "recipe"."""
    for item in items:
        if item.path.relative_to(ROOT / "tests").as_posix().startswith(INTEGRATION):
            item.add_marker("integration")
        if not any(item.get_closest_marker(name) for name in ("integration", "recipe")):
            item.add_marker("unit")


def _refuse_processes(event: str, _: tuple) -> None:
    if _running_unit_test and event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        pytest.fail(f"{event} in a unit test: mark it with pytest.mark.integration")


def _spawn(*arguments: Any) -> int:
    _refuse_processes("os.posix_spawn", ())  # not announced by Python
    return _spawnv_passfds(*arguments)


sys.addaudithook(_refuse_processes)
_spawnv_passfds = multiprocessing.util.spawnv_passfds
multiprocessing.util.spawnv_passfds = _spawn


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Unit tests and their fixtures fail if they start a process."""
    global _running_unit_test
    _running_unit_test = item.get_closest_marker("unit") is not None
    try:
        return (yield)
    finally:
        _running_unit_test = False


@pytest.fixture
def bash(tmp_path):
    """Function that runs a piece of shell (or a script with arguments) in a fresh folder.

    Its ``python`` is the one that runs the tests. Returns the finished process.
    """

    def run(
        *command: str, script: str = "", timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess:
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
            timeout=timeout,
        )

    return run


@pytest.fixture
def run_script():
    """Run ``local/<name>.py`` from another folder: the finished process, with text output."""

    def run(name: str, *arguments, cwd="/", **options) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "local" / f"{name}.py"), *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=120, **options
        )

    return run
