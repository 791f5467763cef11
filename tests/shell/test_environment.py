"""shared/environment.sh: when it installs, when it does not, and what it reports when it cannot.

Requirement files without packages of PyPI keep it quick; tests/run.sh installs the real ones.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "shared" / "environment.sh")


@pytest.fixture
def environment(bash, tmp_path):
    """Run the script for ``v`` and ``requirements.txt`` of the test's folder, with this Python."""
    (tmp_path / "requirements.txt").write_text("# nothing\n")

    def run(*arguments: str, **variables: str):
        variables = {"PYTHON": sys.executable, **variables}
        return bash(
            *(SCRIPT, "--set", "torch2", "--venv", "v", "--requirements", "requirements.txt"),
            *arguments,
            **variables,
        )

    return run


def wheel(folder: Path, name: str) -> str:
    """A package with one module, made here."""
    info = f"{name}-1.0.dist-info/"
    file = f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(info + "RECORD", "")
    return f"./{file}\n"


def test_life_of_an_environment(environment, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(wheel(tmp_path, "first"))
    # Settings that would lead the packages elsewhere.
    made = environment(PIP_TARGET=str(tmp_path / "elsewhere"), PIP_USER="1")
    assert made.returncode == 0, made.stderr
    (site,) = (tmp_path / "v" / "lib").glob("python3*/site-packages")
    assert (site / "first.py").is_file() and not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "v.lock").is_file()

    start = time.monotonic()
    again = environment()
    assert again.returncode == 0 and "v is up to date" in again.stderr
    assert time.monotonic() - start < 3  # less than one second on a quiet machine

    # A failed install shows pip's message, and is not taken for complete.
    requirements.write_text("./no_such-1.0-py3-none-any.whl\n")
    for _ in range(2):
        failed = environment()
        assert failed.returncode == 1
        assert "no_such-1.0" in failed.stderr and "requirements.txt" in failed.stderr

    # A kill while pip copied files: a package without its list of files.
    half = site / "second-1.0.dist-info"
    half.mkdir()
    (half / "METADATA").write_text("Name: second\nVersion: 1.0\n")
    requirements.write_text(wheel(tmp_path, "second"))
    assert environment().returncode == 0
    assert (site / "second.py").is_file() and (half / "RECORD").is_file()
    assert (site / "first.py").is_file()  # the environment was not made anew

    # A kill while the environment was made: no pip.
    shutil.rmtree(site / "pip")
    requirements.write_text("# changed\n")
    remade = environment()
    assert remade.returncode == 0, remade.stderr
    assert (site / "pip").is_dir() and not (site / "first.py").exists()
    assert "up to date" in environment().stderr


def test_a_folder_of_the_user_is_left_alone(environment, tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "thesis.txt").write_text("mine")
    result = environment()
    assert result.returncode == 1
    assert "v is not a Python environment" in result.stderr
    assert [p.name for p in (tmp_path / "v").iterdir()] == ["thesis.txt"]


def test_the_second_of_two_waits(environment, tmp_path):
    with open(tmp_path / "v.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            ["bash", SCRIPT, "--set", "pypi", "--venv", "v", "--requirements", "none.txt"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert "another process" in second.stderr.readline()
        assert second.poll() is None
    second.communicate(timeout=60)
    assert second.returncode == 1  # none.txt does not exist


def test_locks_and_environments_are_ignored_by_git():
    for name in (".venv", ".venv.lock", ".venv-torch2"):
        ignored = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT)
        assert ignored.returncode in (0, 128)  # 128: not a checkout


# --- the interpreter ---------------------------------------------------------------------------


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with the usual tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "cat", "dirname", "env"):
        os.symlink(shutil.which(tool), folder / tool)
    return folder


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def without_python(bare_path, tmp_path):
    """A copy of the script that finds Pythons on the PATH only, and that PATH."""
    shared = tmp_path / "copy" / "shared"
    shared.mkdir(parents=True)
    text = Path(SCRIPT).read_text()
    assert "/usr/bin/python3" in text
    (shared / "environment.sh").write_text(text.replace("/usr/bin/python3", ""))
    shutil.copy(ROOT / "shared" / "environment.py", shared)
    shutil.copytree(ROOT / "requirements", tmp_path / "copy" / "requirements")
    return str(shared / "environment.sh"), str(bare_path)


def test_an_unsuitable_python_is_refused(environment, tmp_path):
    executable(tmp_path / "old", "exit 1")
    for python in ("/nowhere/python3", str(tmp_path / "old")):
        result = environment(PYTHON=python)
        assert result.returncode == 1
        assert f"PYTHON={python}" in result.stderr and "3.10" in result.stderr
    assert not (tmp_path / "v").exists()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs a Python that the set does not take")
def test_a_python_that_the_set_does_not_take(bash, tmp_path):
    result = bash(SCRIPT, "--set", "pypi", "--venv", "v", PYTHON=sys.executable)
    assert result.returncode == 1
    assert "3.10, 3.11" in result.stderr and f"PYTHON={sys.executable}" in result.stderr


def test_without_any_python_the_commands_to_install_one(bash, without_python, bare_path):
    script, path = without_python
    executable(bare_path / "python3", "exit 1")  # too old
    result = bash(script, PATH=path)
    assert result.returncode == 1
    for remedy in ("apt-get install", "dnf install", "conda create", "uv", "brew install"):
        assert remedy in result.stderr


def test_without_any_python_uv_brings_one(bash, without_python, bare_path, tmp_path):
    script, path = without_python
    executable(bare_path / "uv", f'echo "$@" >>uv-called; echo "{sys.executable}"')
    result = bash(script, "--dry-run", PATH=path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "uv-called").read_text().splitlines()[0] == "python find 3.11"
    assert "Would install" in result.stderr


# --- sets ----------------------------------------------------------------------------------------


def test_modern_set_without_the_page_of_k2(bash):
    """For real: nothing listens at the address."""
    result = bash(
        *(SCRIPT, "--set", "modern", "--dry-run"),
        PYTHON=sys.executable,
        GMOT_K2_PAGE="http://127.0.0.1:9/cuda.html",
    )
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "127.0.0.1:9" in line]
    assert "k2 is not installed" in line
    assert "modern.txt" in result.stderr


def test_a_driver_chooses_the_modern_set(bash, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    smi = "| NVIDIA-SMI 570.1   Driver Version: 570.1   CUDA Version: 12.8 |"
    executable(folder / "nvidia-smi", f'echo "{smi}"')
    result = bash(
        *(SCRIPT, "--dry-run", "--venv", "v"),
        PATH=f"{folder}{os.pathsep}{os.environ['PATH']}",
        GMOT_K2_PAGE=(tmp_path / "none.html").as_uri(),
    )
    assert result.returncode == 0, result.stderr
    assert "Set modern" in result.stderr and "12.8" in result.stderr
    assert "modern-cuda12.txt" in result.stderr


def test_help_and_unknown_options(bash):
    result = bash(SCRIPT, "--help")
    assert result.returncode == 0
    for word in ("--venv", "--set", "--dev", "--synthesis", "PYTHON", "pypi", "torch2", "modern"):
        assert word in result.stdout
    for wrong in (["--cuda"], ["--set", "cuda"]):
        result = bash(SCRIPT, *wrong)
        assert result.returncode == 2 and wrong[-1] in result.stderr


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (0, 1)])
def test_ci_runs_two_sets_and_fails_with_either(bash, tmp_path, first, second):
    for folder in (".ci", "tests"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "tests" / "run.sh").write_text(
        f'echo "$@" >>called\ncase "$*" in *torch2*) exit {second} ;; *) exit {first} ;; esac\n'
    )
    result = bash(".ci/run")
    assert (result.returncode != 0) == (first != 0 or second != 0)
    assert sorted((tmp_path / "called").read_text().splitlines()) == ["", "--set torch2"]
