"""The installed package: wheel, console script, extras."""

import email
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[1]
# torch alone is installed with gmot; this Python plays one without the extra.
WITHOUT_EXTRA = """
import importlib, json, pkgutil, re, sys
for line in open("requirements/recipe.in"):
    name = re.match(r"[\\w.-]*", line)[0].lower().replace("-", "_")
    if name:
        sys.modules[{"pyyaml": "yaml"}.get(name, name)] = None
sys.modules.update(dict.fromkeys(("k2", "llvmlite", "docstring_parser", "typeshed_client")))
import gmot
result = {}
for module in pkgutil.walk_packages(gmot.__path__, "gmot.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
        result[module.name] = ""
    except ImportError as error:
        result[module.name] = str(error)
print(json.dumps(result))
"""


def test_a_missing_extra_is_named():
    output = subprocess.check_output([sys.executable, "-c", WITHOUT_EXTRA], cwd=ROOT, text=True)
    result = json.loads(output.splitlines()[-1])
    unclear = {m: e for m, e in result.items() if e and "gmot[recipe]" not in e}
    # gmot.ot.kernels finds out which of its modules can be used.
    assert not [m for m in unclear if not m.startswith("gmot.ot.kernels.")]
    for module in ("gmot.ot", "gmot.transfer", "gmot.model", "gmot.common"):
        assert result[module] == "", module
    assert "lhotse" in result["gmot.data"]


def test_wheel(tmp_path):
    source = tmp_path / "source"  # setuptools writes beside the sources
    for folder in ("gmot", "requirements"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    # With the setuptools of this environment: no network.
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"),
            *("--wheel-dir", str(tmp_path), str(source)),
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (file,) = tmp_path.glob("gmot-*.whl")
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert {"gmot/py.typed", "gmot/ot/__init__.py", "gmot/bin/train.py"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"gmot", info}
    assert "gmot = gmot.bin:main" in scripts
    requires = metadata.get_all("Requires-Dist")
    assert [r for r in requires if "extra" not in r] == ["torch>=1.13.1"]
    assert any(r.startswith("lhotse") and "recipe" in r for r in requires)
    assert set(metadata.get_all("Provides-Extra")) == {"recipe", "cluster", "dev"}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
