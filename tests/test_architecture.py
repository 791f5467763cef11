"""Package structure: who imports whom, read from the sources."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Third party -> the only modules that import it.
OWNERS: dict[str, str | tuple[str, ...]] = {
    "k2": "gmot/decode/k2_import.py",
    "kaldilm": "gmot/decode/grammar.py",
    "tokenizers": "gmot/text/units.py",
    "transformers": "gmot/teacher/",
    "lhotse": "gmot/data/",
    "distributed": "gmot/cluster.py",
    "kaldi_native_fbank": "gmot/data/pitch.py",
    "tensorboard": ("gmot/training/metrics.py", "gmot/analysis/history.py"),
    "torch.utils.tensorboard": "gmot/training/metrics.py",
    "matplotlib": "gmot/analysis/plots.py",
    "geomloss": "gmot/ot/kernels/geomloss.py",
    "numba": "gmot/ot/kernels/cpu",
    "triton": "gmot/ot/kernels/",
}

# Package -> packages that it may import, beside itself and COMMON.
COMMON = ["common", "cli", "cluster", "config", "executors", "provenance"]
LAYERS: dict[str, list[str]] = {
    "ot": [],
    "text": [],
    "transfer": ["ot"],
    "model": ["text"],
    "data": ["text"],
    "teacher": ["text"],
    "decode": ["text"],
    "evaluation": ["text", "model", "data", "teacher", "decode"],
    "corpus": ["text", "data"],
    "analysis": ["ot", "text", "transfer", "model", "data", "teacher", "evaluation"],
    "training": [
        *("ot", "text", "transfer", "model", "data", "teacher", "decode"),
        *("evaluation", "analysis"),
    ],
    "bin": ["ot", "text", "transfer", "model", "data", "teacher", "decode"]
    + ["evaluation", "analysis", "training", "corpus"],
    **{name: [] for name in COMMON},
}

SOURCES = [p.relative_to(ROOT).as_posix() for p in sorted(ROOT.glob("gmot/**/*.py"))]
SCRIPTS = [
    p.relative_to(ROOT).as_posix()
    for pattern in ("local/*.py", "egs/*/local/*.py", "shared/*/*.py")
    for p in sorted(ROOT.glob(pattern))
    if "__main__" in p.read_text(encoding="utf-8")
]


def imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, at any depth of it."""
    package = source[: -len(".py")].split("/")[:-1]
    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package[: len(package) - node.level + 1] + [base]).rstrip(".")
            for name in node.names:
                yield node.lineno, f"{base}.{name.name}"


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def test_third_parties_are_imported_by_their_owners():
    wrong = [
        f"{source}:{line} imports {name}; only {owner} may"
        for source in SOURCES
        for line, name in imports(source)
        for module, owner in OWNERS.items()
        if within(name, module) and not source.startswith(owner)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_imported_upward():
    wrong: list[str] = []
    for source in SOURCES:
        part = source[len("gmot/") : -len(".py")].split("/")[0]
        if part == "__init__":
            continue
        if part not in LAYERS:
            wrong.append(f"{source}: add gmot.{part} to LAYERS of this test")
            continue
        allowed = [f"gmot.{p}" for p in (part, *COMMON, *LAYERS[part])]
        for line, name in imports(source):
            if within(name, "gmot") and not any(within(name, a) for a in allowed):
                wrong.append(f"{source}:{line} imports {name}")
            if within(name, "local"):
                wrong.append(f"{source}:{line} imports {name}: the library imports no script")
    assert not wrong, "\n".join(wrong)


def test_the_solver_imports_torch_alone():
    """Other libraries are imported by gmot.ot.kernels only."""
    standard = getattr(sys, "stdlib_module_names", None)
    if standard is None:
        pytest.skip("the names of the standard library are known from Python 3.10 on")
    wrong = [
        f"{source}:{line} imports {name}"
        for source in SOURCES
        if source.startswith("gmot/ot/") and "/kernels/" not in source
        for line, name in imports(source)
        if name.split(".")[0] not in standard
        and not within(name, "torch")
        and not within(name, "gmot.ot")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.integration
def test_importing_the_solver_loads_no_other_library():
    code = (
        "import json, sys, gmot.ot\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT))
    others = {"k2", "transformers", "lhotse", "tensorboard", "geomloss", "scipy", "numba", "ot"}
    assert not others & set(loaded)
    assert "yaml" not in loaded


def test_no_corpus_is_named_outside_its_recipe():
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("gmot", "local", "shared")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".sh") and "aishell" in path.read_text(encoding="utf-8").lower()
    ]
    assert not found


def test_there_are_no_symlinks():
    """They break on archives and on file systems without them, and hide what a recipe runs."""
    links = []
    for folder, folders, files in os.walk(ROOT):
        depth = len(Path(folder).relative_to(ROOT).parts)
        if depth == 0:
            # .git, environments and caches are not the tree.
            folders[:] = [f for f in folders if not f.startswith(".") or f == ".ci"]
        if depth == 2 and Path(folder).parent.name == "egs":
            folders[:] = [f for f in folders if f not in ("data", "exp", "download")]
        links += [p for p in (Path(folder) / f for f in folders + files) if p.is_symlink()]
    assert not links


@pytest.mark.integration
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_instant(script, tmp_path):
    """From any folder, without torch and the other slow ones, with a word about what it makes."""
    code = """
import json, runpy, sys
script = sys.argv[1]
sys.argv = [script, "--help"]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    slow = {"torch", "lhotse", "transformers", "k2", "scipy", "matplotlib", "onnxruntime"}
    print(json.dumps([end.code, sorted(slow & set(sys.modules))]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert result.returncode == 0, result.stderr
    *text, last = result.stdout.splitlines()
    assert json.loads(last) == [0, []]
    assert "usage:" in text[0]
    assert len(" ".join(text)) > 150
