import json
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from gmot.common import GmotError
from gmot.training import environment as module
from gmot.training.environment import choose_device, environment

ROOT = Path(__file__).resolve().parents[2]


def test_versions_and_commit():
    found = json.loads(json.dumps(environment()))
    assert found["torch"] == metadata.version("torch")
    assert found["python"] == sys.version.split()[0]
    assert found["cpus"] >= 1
    if (ROOT / ".git").exists():
        head = subprocess.check_output(["git", "-C", str(ROOT), "rev-parse", "HEAD"], text=True)
        assert head.startswith(found["commit"])
        assert isinstance(found["dirty"], bool)


def test_what_is_not_there_is_none(monkeypatch):
    def fail():
        raise OSError

    monkeypatch.setattr(socket, "gethostname", fail)
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    monkeypatch.setenv("PATH", "")
    found = environment()
    assert (found["host"], found["no-such-package"], found["commit"]) == (None, None, None)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, gmot.training.environment as e; e.environment()\n"
        "sys.exit(bool({'torch', 'k2', 'lhotse', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_device():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(GmotError, match="--device nonsense"):
        choose_device("nonsense")
