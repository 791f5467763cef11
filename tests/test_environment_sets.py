"""shared/environment.py: choice of the set of packages and of k2's wheel; the locks."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINUX, MAC, ARM = ("Linux", "x86_64"), ("Darwin", "arm64"), ("Linux", "aarch64")
SETS = ("pypi", "torch2", "modern", "modern-cuda12")
WHEELS = [
    line for line in (ROOT / "tests/k2_wheels.txt").read_text().splitlines() if line[0] != "#"
]


def load_script():
    spec = importlib.util.spec_from_file_location("environment", ROOT / "shared/environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


environment = load_script()


@pytest.mark.parametrize(
    ("pythons", "system", "driver", "chosen"),
    [
        (["3.11", "3.12"], LINUX, None, "pypi"),
        (["3.10", "3.13"], LINUX, None, "pypi"),
        (["3.12"], LINUX, None, "torch2"),
        (["3.14"], LINUX, None, "torch2"),
        (["3.11"], MAC, None, "torch2"),
        (["3.11"], ARM, (13, 0), "torch2"),
        (["3.11", "3.12"], LINUX, (13, 0), "modern"),
        (["3.13"], LINUX, (12, 4), "modern"),
        (["3.14"], LINUX, (12, 4), "torch2"),
        (["3.11"], LINUX, (11, 8), "pypi"),
        ([], LINUX, None, "torch2"),
    ],
)
def test_choice_of_the_set(pythons, system, driver, chosen):
    name, reason = environment.choose_set(pythons, system, driver)
    assert name == chosen and reason
    if pythons:
        assert set(pythons) & set(environment.usable_pythons(name, system, driver))


@pytest.mark.parametrize("driver", [None, (12, 4), (12, 8), (13, 0), (13, 2)])
def test_every_python_of_the_modern_set_has_a_wheel_of_k2(driver):
    lock, torch, cuda = environment.modern_versions(driver)
    assert re.search(
        rf"^torch=={re.escape(torch)} ", (ROOT / "requirements" / lock).read_text(), re.M
    )
    for python in environment.usable_pythons("modern", LINUX, driver):
        name = environment.choose_wheel(WHEELS, python, torch, cuda)
        tag = python.replace(".", "")
        assert f"+cuda{cuda}.torch{torch}-cp{tag}-cp{tag}-" in name


def test_choice_of_the_wheel():
    choose = environment.choose_wheel
    assert choose(WHEELS, "3.13", "2.12.0", "13.0") == (
        "k2-1.24.4.dev20260520+cuda13.0.torch2.12.0-cp313-cp313"
        "-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
    )
    assert choose(WHEELS, "3.13", "2.8.0", "12.8").startswith("k2-1.24.4.dev20250807+cuda12.8")
    for absent in (
        ("3.14", "2.8.0", "12.8"),
        ("3.9", "2.12.0", "13.0"),
        ("3.12", "2.12.0", "12.8"),
    ):
        assert choose(WHEELS, *absent) is None
    assert choose(WHEELS, "3.12", "2.12.0", "13.0", machine="aarch64") is None
    assert choose([], "3.12", "2.12.0", "13.0") is None


def test_of_several_wheels_the_newest():
    old, new = (
        f"https://host/a%20b/k2-{v}%2Bcuda13.0.torch2.12.0-cp312-cp312-linux_x86_64.whl"
        for v in ("1.24.4.dev9", "1.24.10.dev1")
    )
    for links in ([old, new], [new, old]):
        assert environment.choose_wheel(links, "3.12", "2.12.0", "13.0") == new


def test_wheel_from_a_page(tmp_path, monkeypatch):
    page = tmp_path / "cuda.html"
    page.write_text("".join(f'<a href="./w/{n.replace("+", "%2B")}">{n}</a>\n' for n in WHEELS))
    monkeypatch.setenv("GMOT_K2_PAGE", page.as_uri())
    monkeypatch.setattr(environment.platform, "machine", lambda: "x86_64")
    wheel, line = environment.find_k2("3.14", (13, 0))
    assert wheel.startswith((tmp_path / "w").as_uri()) and "cp314" in wheel
    assert "cuda13.0.torch2.12.0" in line
    wheel, line = environment.find_k2("3.14", (12, 8))
    assert wheel is None and "3.14" in line and "2.8.0" in line


def test_page_that_cannot_be_read(monkeypatch):
    monkeypatch.setenv("GMOT_K2_PAGE", "http://127.0.0.1:9/cuda.html")
    wheel, line = environment.find_k2("3.12", None)
    assert wheel is None and "http://127.0.0.1:9/cuda.html" in line and "\n" not in line


# --- the locks -----------------------------------------------------------------------------------


def pins(lock: str) -> dict[str, set[str]]:
    """Package -> versions of a lock."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / lock).read_text().splitlines():
        match = re.match(r"([\w.-]+)==(\S+)", line)
        if match:
            found.setdefault(match[1].lower().replace("_", "-"), set()).add(match[2])
    return found


@pytest.mark.parametrize("lock", sorted(p.name for p in (ROOT / "requirements").glob("*.txt")))
def test_every_package_of_a_lock_has_a_hash(lock):
    text = (ROOT / "requirements" / lock).read_text()
    blocks = [b for b in re.split(r"(?m)^(?=\S)", text) if b.strip() and b[0] != "#"]
    assert blocks and all("==" in b.split("\n")[0] and "--hash=sha256:" in b for b in blocks)


@pytest.mark.parametrize("name", [*SETS, "dev", "cluster", "synthesis", "pip"])
def test_a_lock_holds_what_its_source_asks_for(name):
    folder = ROOT / "requirements"
    lines = (folder / f"{name}.in").read_text().splitlines()
    if "-r recipe.in" in lines:
        lines += (folder / "recipe.in").read_text().splitlines()
    locked = pins(f"{name}.txt")
    for line in lines:
        if line and line[0] not in "#-":
            package, version = re.match(r"([\w.-]+)(?:\[\w+\])?(?:==(\S+))?", line).groups()
            assert package.lower().replace("_", "-") in locked, line
            if version:
                assert locked[package.lower().replace("_", "-")] == {version}


@pytest.mark.parametrize("extra", ["dev", "cluster", "synthesis"])
@pytest.mark.parametrize("name", SETS)
def test_extras_change_no_package_of_a_set(name, extra):
    of_set, of_extra = pins(f"{name}.txt"), pins(f"{extra}.txt")
    assert all(of_extra[p] <= of_set[p] for p in of_set.keys() & of_extra.keys())


def test_only_synthesis_brings_its_packages():
    for package in ("onnxruntime", "cn2an", "proces", "ordered-set"):
        assert package in pins("synthesis.txt")
        assert not any(package in pins(f"{name}.txt") for name in (*SETS, "dev"))


def test_named_requirements_exist():
    files = [f for d in ("gmot", "local", "shared", "egs", "docs") for f in (ROOT / d).rglob("*")]
    missing = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in [*files, ROOT / "README.md"]
        if file.suffix in (".py", ".sh", ".md", ".yaml")
        for name in re.findall(r"\brequirements[/\w.-]*\.(?:txt|in)\b", file.read_text())
        if not (ROOT / name).is_file()
    ]
    assert not missing
