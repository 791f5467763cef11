"""shared/environment.sh: when it installs, when it does not, and what it says when it cannot.

Requirement files without a package keep it quick; the real ones are installed by tests/run.sh.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "shared" / "environment.sh")

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] not in ((3, 9), (3, 10), (3, 11)), reason="makes environments of 3.9-3.11"
)


@pytest.fixture
def environment(bash, tmp_path):
    """Run the script on ``requirements.txt`` of the test's folder; PYTHON is this Python."""
    (tmp_path / "requirements.txt").write_text("# nothing\n")

    def run(*arguments: str, **variables: str):
        variables = {"PYTHON": sys.executable, **variables}
        return bash(
            SCRIPT, "--venv", "v", "--requirements", "requirements.txt", *arguments, **variables
        )

    return run


def site_packages(tmp_path: Path) -> Path:
    return next((tmp_path / "v" / "lib").glob("python3*")) / "site-packages"


def test_installs_once_and_again_only_for_a_changed_file(environment, tmp_path):
    first = environment()
    assert first.returncode == 0, first.stderr
    assert "Making v" in first.stderr
    assert (tmp_path / "v/bin/python").exists()

    again = environment()
    assert again.returncode == 0
    assert again.stderr.strip().endswith("v is up to date")

    # What the file names with -r counts as well.
    (tmp_path / "more.txt").write_text("# nothing\n")
    (tmp_path / "requirements.txt").write_text("-r more.txt\n")
    changed = environment()
    assert "Installing into v" in changed.stderr
    assert "Making" not in changed.stderr
    (tmp_path / "more.txt").write_text("# nothing else\n")
    assert "Installing into v" in environment().stderr
    assert "up to date" in environment().stderr


def test_a_failed_install_shows_pips_words_and_is_not_taken_for_done(environment, tmp_path):
    (tmp_path / "requirements.txt").write_text("./no_such-1.0-py3-none-any.whl\n")
    for _ in range(2):
        result = environment()
        assert result.returncode == 1
        assert "no_such-1.0" in result.stderr
        assert "pip could not install requirements.txt" in result.stderr
    (tmp_path / "requirements.txt").write_text("# mended\n")
    assert environment().returncode == 0
    assert "up to date" in environment().stderr


def test_what_a_kill_left_behind_is_mended(environment, tmp_path):
    assert environment().returncode == 0
    # As in the middle of pip's copying: no line in the list, a package without its list of files.
    (tmp_path / "v/gmot-installed").unlink()
    half = site_packages(tmp_path) / "half-1.0.dist-info"
    half.mkdir()
    (half / "METADATA").write_text("Name: half\nVersion: 1.0\n")
    result = environment()
    assert result.returncode == 0
    assert "Making" not in result.stderr
    assert not half.exists()
    # As in the middle of making the environment: no pip yet.
    (tmp_path / "v/gmot-installed").unlink()
    shutil.rmtree(site_packages(tmp_path) / "pip")
    result = environment()
    assert result.returncode == 0
    assert "Making v" in result.stderr
    assert (site_packages(tmp_path) / "pip").is_dir()


def test_a_folder_of_the_user_is_left_alone(environment, tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "thesis.txt").write_text("mine")
    result = environment()
    assert result.returncode == 1
    assert "not a Python environment" in result.stderr
    assert [p.name for p in (tmp_path / "v").iterdir()] == ["thesis.txt"]


def interpreter(path: Path, version: str) -> str:
    """Something that says it is a Python of that version."""
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return str(path)


def test_an_unsuitable_python_is_explained(environment, tmp_path):
    result = environment(PYTHON="/nowhere/python3")
    assert result.returncode == 1
    assert "PYTHON=/nowhere/python3 was asked for: it does not start" in result.stderr
    assert "3.11, 3.10, 3.9" in result.stderr
    assert not (tmp_path / "v").exists()

    result = environment(PYTHON=interpreter(tmp_path / "new", "3.14"))
    assert result.returncode == 1
    assert "was asked for: 3.14" in result.stderr
    assert not (tmp_path / "v").exists()


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with the usual tools and no Python at all."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tools = "bash cat cut date dirname env flock grep ls mkdir mv rm sed sh sha256sum shasum"
    for tool in [*tools.split(), "sleep", "tail", "tee", "tr", "wc"]:
        found = shutil.which(tool)
        if found:
            os.symlink(found, folder / tool)
    return folder


def test_without_any_python_it_says_what_to_install(environment, tmp_path, bare_path):
    interpreter(bare_path / "python3", "3.13")
    result = environment(PYTHON="", PATH=str(bare_path))
    assert result.returncode == 1
    assert "found: python3 3.13" in result.stderr
    for remedy in ("apt-get install python3.11", "conda", "uv", "brew"):
        assert remedy in result.stderr
    assert not (tmp_path / "v").exists()


def test_without_any_python_uv_brings_one(environment, tmp_path, bare_path):
    uv = bare_path / "uv"
    uv.write_text(
        '#!/bin/sh\necho "$@" >uv-called\n'
        f'for folder; do :; done\nexec "{sys.executable}" -m venv "$folder"\n'
    )
    uv.chmod(0o755)
    result = environment(PYTHON="", PATH=str(bare_path))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "uv-called").read_text().startswith("venv --quiet --seed --python 3.11")
    assert "up to date" in environment(PYTHON="", PATH=str(bare_path)).stderr


def test_it_locks_beside_the_environment_where_git_does_not_look(environment, tmp_path):
    assert environment().returncode == 0
    assert (tmp_path / "v.lock").is_file()
    ignored = subprocess.run(["git", "check-ignore", ".venv", ".venv.lock"], cwd=ROOT)
    assert ignored.returncode in (0, 128)  # 128: not a checkout


def test_pip_settings_elsewhere_do_not_lead_the_packages_away(environment, tmp_path):
    """A package made here, installed under settings that name another folder."""
    import zipfile

    info = "tiny-1.0.dist-info/"
    with zipfile.ZipFile(tmp_path / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(
            info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(info + "RECORD", "")
    (tmp_path / "requirements.txt").write_text("./tiny-1.0-py3-none-any.whl\n")
    result = environment(PIP_TARGET=str(tmp_path / "elsewhere"), PIP_USER="1")
    assert result.returncode == 0, result.stderr
    assert (site_packages(tmp_path) / "tiny.py").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_help_and_unknown_options(bash):
    result = bash(SCRIPT, "--help")
    assert result.returncode == 0
    for word in ("--venv", "--requirements", "--torch2", "--dev", "PYTHON="):
        assert word in result.stdout
    result = bash(SCRIPT, "--cuda")
    assert result.returncode == 2
    assert "unknown option '--cuda'" in result.stderr
