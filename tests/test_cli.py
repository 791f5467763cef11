"""Options, configuration files and one-line errors; atomic files."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from gmot.bin import main
from gmot.cli import ArgumentParser, NonNegativeInt, PositiveFloat, PositiveInt, number
from gmot.common import (
    GmotError,
    atomic_path,
    limit_spinning,
    read_json,
    require_file,
    use_avx2_in_mkl,
)
from gmot.config import check_range, from_dict

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Inner:
    """Inner group."""

    share: float = 0.5
    """Share of something."""

    def __post_init__(self):
        check_range(self, 0, 1, "share")


@dataclass(frozen=True)
class Outer:
    """Outer group."""

    alpha: float = 0.1
    """Weight of the edges."""
    reach: float | None = None
    """Strength of a penalty."""
    kind: Literal["a", "b"] = "a"
    """Kind of objective."""
    inner: Inner = field(default_factory=Inner)
    dim: int = 3

    def __post_init__(self):
        check_range(self, 0, 1, "alpha")


def parser():
    p = ArgumentParser(with_config=True, prog="prog")
    p.add_class_arguments(Outer, "outer", skip={"dim"})
    p.add_argument("--base-lr", type=float, default=0.1, help="highest rate")
    p.add_argument("--splits", nargs="+", default=["train"])
    p.add_argument("--avg", type=PositiveInt, default=1)
    p.add_argument("--jobs", type=NonNegativeInt, default=0)
    p.add_argument("--seconds", type=PositiveFloat, default=1.0)
    p.add_argument("--speeds", type=number(float, 0.1, 10.0), nargs="*", default=[])
    p.add_argument("--name", default="x")
    return p


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """One line of the error for a command line; ``c.yaml`` holds ``config``."""
    monkeypatch.chdir(tmp_path)

    def refused(*args, config=None):
        if config is not None:
            (tmp_path / "c.yaml").write_bytes(config.encode("latin-1"))
            args = ("--config", "c.yaml", *args)
        with pytest.raises(SystemExit) as end:
            parser().parse_args(list(args))
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refused


def test_files_fill_options_and_the_command_line_wins(tmp_path):
    (tmp_path / "a.yaml").write_text("base_lr: 0.5\nname: a\nouter: {alpha: 0.3, reach: 2}\n")
    (tmp_path / "b.yaml").write_text("name: b\nsplits: [dev, test]\nouter: {inner: {share: 1}}\n")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    chosen = ["--outer.inner.share=0.25", "--base-lr", "2"]
    args = parser().parse_args([*chosen, "--config", files[0], f"--config={files[1]}"])
    assert args.outer == Outer(alpha=0.3, reach=2.0, inner=Inner(0.25))
    assert (args.base_lr, args.name, args.splits, args.config) == (2.0, "b", ["dev", "test"], files)
    assert parser().parse_args(["--config", files[1], "--config", files[0]]).name == "a"


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "e.yaml").write_text("# nothing\n")
    assert parser().parse_args(["--config", str(tmp_path / "e.yaml")]).outer == Outer()


def test_dashes_and_underscores_are_the_same():
    assert parser().parse_args(["--base_lr", "2"]).base_lr == 2.0
    assert parser().parse_args(["--outer.reach", "null", "--outer.kind=b"]).outer.kind == "b"


def test_printed_configuration_can_be_read_again(tmp_path, capsys):
    given = ["--outer.alpha", "0.7", "--outer.inner.share", "0", "--splits", "dev"]
    with pytest.raises(SystemExit) as end:
        parser().parse_args([*given, "--print_config"])
    assert not end.value.code
    (tmp_path / "p.yaml").write_text(capsys.readouterr().out)
    again = parser().parse_args(["--config", str(tmp_path / "p.yaml")])
    expected = parser().parse_args(given)
    assert (again.outer, again.splits) == (expected.outer, expected.splits)


@pytest.mark.parametrize(
    ("args", "facts"),
    [
        (["--outer.alhpa", "1"], ["--outer.alhpa", "--outer.alpha"]),
        (["--outer.dim", "1"], ["--outer.dim"]),  # no option
        (["--outer.alp", "1"], ["--outer.alp"]),  # no abbreviations
        (["--outer.alpha", "hm"], ["--outer.alpha", "number", "hm"]),
        (["--outer.alpha", "7"], ["--outer.alpha", "0 to 1", "7"]),
        (["--outer.inner.share", "-1"], ["--outer.inner.share", "0 to 1", "-1"]),
        (["--outer.kind", "c"], ["--outer.kind", "a, b", "c"]),
        (["--outer.reach", "c"], ["--outer.reach", "number", "null", "c"]),
        (["--avg", "0"], ["--avg", "integer", "0"]),
        (["--jobs", "x"], ["--jobs", "integer", "x"]),
        (["--seconds", "x"], ["--seconds", "number", "x"]),
        (["--avg", "1.5"], ["--avg", "integer", "1.5"]),
        (["--jobs", "-1"], ["--jobs", "integer", "0", "-1"]),
        (["--seconds", "0"], ["--seconds", "number", "0"]),
        (["--speeds", "1", "11"], ["--speeds", "number", "0.1", "10", "11"]),
        (["--config", "no.yaml"], ["no.yaml"]),
    ],
)
def test_wrong_options_are_one_line(refused, args, facts):
    line = refused(*args)
    assert all(fact in line for fact in facts), line


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        ("outer: {alhpa: 1}", ["outer.alhpa", "outer.alpha"]),
        ("otuer: {alpha: 1}", ["otuer.alpha", "outer.alpha"]),
        ("bse_lr: 1", ["bse_lr", "base_lr"]),
        ("outer: {alpha: hm}", ["outer.alpha", "number", "hm"]),
        ("outer: {alpha: 7}", ["outer.alpha", "0 to 1", "7"]),
        ("outer: {inner: {share: 3}}", ["outer.inner.share", "0 to 1", "3"]),
        ("outer: 3", ["outer", "3"]),
        ("base_lr: fast", ["base_lr", "number", "fast"]),
        *(("- 1\n- 2", []), ("a: [1", []), ("a: \xff", [])),
    ],
)
def test_wrong_files_are_one_line(refused, config, facts):
    line = refused(config=config)
    assert all(fact in line for fact in ("c.yaml", *facts)), line


def test_the_command_line_is_blamed_for_its_own_value(refused):
    line = refused("--outer.alpha", "7", config="outer: {alpha: 0.5}")
    assert "c.yaml" not in line and "--outer.alpha" in line


def test_missing_required_option(capsys):
    p = ArgumentParser(prog="prog")
    p.add_argument("--exp-dir", required=True)
    with pytest.raises(SystemExit) as end:
        p.parse_args([])
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and "--exp-dir" in line


def test_help_documents_fields():
    text = " ".join(parser().format_help().split())
    assert "--outer.alpha" in text and "Weight of the edges." in text and "0.1" in text
    assert "--outer.dim" not in text


def test_configuration_from_a_dictionary():
    assert from_dict(Outer, {"inner": {"share": 0.1}}) == Outer(inner=Inner(0.1))
    with pytest.raises(GmotError, match="wings"):
        from_dict(Outer, {"wings": 2})
    with pytest.raises(GmotError, match="outer.inner.share"):
        from_dict(Outer, {"inner": {"share": 2}}, "outer.")


def test_console_script_lists_and_runs_the_commands(monkeypatch, capsys):
    def gmot(*words):
        monkeypatch.setattr(sys, "argv", ["gmot", *words])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        return end.value.code, found.out + found.err

    status, text = gmot("--help")
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  "))
    assert status == 0 and all(lines.values())
    assert set(lines) == {path.stem for path in (ROOT / "local").glob("*.py")}
    status, text = gmot("train", "--help")
    assert status == 0 and "gmot train" in text and "--transfer.alpha" in text
    status, text = gmot("trian")
    assert status == 2 and "trian" in text and text.count("\n") == 1


@pytest.mark.integration
def test_a_user_error_is_one_line_and_status_1():
    code = (
        "from gmot.cli import run\nfrom gmot.common import GmotError\n"
        "def main(): raise GmotError('wav.scp: empty')\nrun(main)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: wav.scp: empty"


def test_atomic_path_leaves_nothing_when_interrupted(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.integration
def test_what_a_killed_process_left_is_removed(tmp_path):
    code = (
        "import os, sys\nfrom gmot.common import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), 9)"
    )
    target = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", code, str(target)])
    assert len(list(tmp_path.iterdir())) == 1 and not target.exists()
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_atomic_folder_replaces_the_old_one(tmp_path):
    target = tmp_path / "d"
    for name in ("one", "two"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["two"]


def test_files_that_are_missing_empty_or_broken(tmp_path):
    with pytest.raises(GmotError, match="is not there. Run stage 1"):
        require_file(tmp_path / "x", "manifest", "Run stage 1.")
    (tmp_path / "x").touch()
    with pytest.raises(GmotError, match="is empty"):
        require_file(tmp_path / "x", "manifest", "Run stage 1.")
    (tmp_path / "x").write_text("{")
    with pytest.raises(GmotError, match="not valid JSON"):
        read_json(tmp_path / "x")


def test_numbers_in_a_range_are_built_in_numbers():
    """Values are sent to other processes and written to checkpoints."""
    parser = ArgumentParser()
    parser.add_argument("--bins", type=number(int, 4))
    parser.add_argument("--factors", type=PositiveFloat, nargs="+")
    args = parser.parse_args(["--bins", "80", "--factors", "0.9", "1.1"])
    assert type(args.bins) is int and [type(f) for f in args.factors] == [float, float]


@pytest.mark.parametrize(
    "cpuinfo, given, expected",
    [
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 fma sse", None, "5"),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 fma sse", "4", "4"),
        ("vendor_id : AuthenticAMD\nflags : fpu avx sse", None, None),
        ("vendor_id : GenuineIntel\nflags : fpu avx2 fma sse", None, None),
        (None, None, None),
    ],
)
def test_mkl_uses_avx2_on_amd(tmp_path, monkeypatch, cpuinfo, given, expected):
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    if given:
        monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", given)
    if cpuinfo:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    use_avx2_in_mkl(tmp_path / "cpuinfo")
    assert os.environ.get("MKL_DEBUG_CPU_TYPE") == expected


@pytest.mark.parametrize(
    "given, expected",
    [({}, "10000"), ({"OMP_WAIT_POLICY": "passive"}, None), ({"GOMP_SPINCOUNT": "9"}, "9")],
)
def test_threads_spin_for_a_short_time_unless_the_user_says_otherwise(monkeypatch, given, expected):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limit_spinning()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
    assert os.environ.get("OMP_WAIT_POLICY") == given.get("OMP_WAIT_POLICY")
