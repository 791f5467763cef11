import subprocess
import sys

import pytest

from gmot.cli import ArgumentParser, str2bool
from gmot.common import GmotError, atomic_path, read_json, require_file


def parser():
    p = ArgumentParser(with_config=True)
    p.add_argument("--base-lr", type=float, default=0.1)
    p.add_argument("--parts", nargs="+", default=["train"])
    p.add_argument("--name", default="x")
    return p


def test_config_fills_and_the_command_line_wins(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("base_lr: 0.5\nname: -y\nparts: [dev, test]\n")
    args = parser().parse_args(["--config", str(config)])
    assert (args.base_lr, args.name, args.parts) == (0.5, "-y", ["dev", "test"])
    assert parser().parse_args(["--config", str(config), "--base-lr", "2"]).base_lr == 2.0


def test_later_configs_win(tmp_path):
    (tmp_path / "a.yaml").write_text("base-lr: 0.5\nname: a\n")
    (tmp_path / "b.yaml").write_text("name: b\n")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    args = parser().parse_args(["--config", *files])
    assert (args.base_lr, args.name, args.config) == (0.5, "b", files)
    assert parser().parse_args(["--name", "c", "--config", *files]).name == "c"
    assert parser().parse_args(["--config", *files[::-1]]).name == "a"


def test_config_values_are_checked_like_typed_ones(tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text("base-lr: fast\n")
    with pytest.raises(SystemExit):
        parser().parse_args(["--config", str(config)])
    assert "invalid float value: 'fast'" in capsys.readouterr().err


def test_a_config_may_build_on_another(tmp_path):
    (tmp_path / "common.yaml").write_text("base-lr: 0.5\nname: common\n")
    (tmp_path / "c.yaml").write_text("base: common.yaml\nname: own\n")
    args = parser().parse_args(["--config", str(tmp_path / "c.yaml")])
    assert (args.base_lr, args.name) == (0.5, "own")
    (tmp_path / "c.yaml").write_text("base: gone.yaml\n")
    with pytest.raises(GmotError, match="gone.yaml: No such file"):
        parser().parse_args(["--config", str(tmp_path / "c.yaml")])
    (tmp_path / "common.yaml").write_text("base: c.yaml\n")
    (tmp_path / "c.yaml").write_text("base: common.yaml\n")
    with pytest.raises(GmotError, match="leads back"):
        parser().parse_args(["--config", str(tmp_path / "c.yaml")])


def test_unknown_key_is_named(tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text("bse-lr: 1\n")
    with pytest.raises(SystemExit):
        parser().parse_args(["--config", str(config)])
    error = capsys.readouterr().err
    assert "unknown key 'bse-lr'" in error and "base-lr" in error


@pytest.mark.parametrize("text", [b"- 1\n- 2\n", b"a: [1\n", b"a: \xff\n"])
def test_config_that_is_no_mapping(tmp_path, text):
    config = tmp_path / "c.yaml"
    config.write_bytes(text)
    with pytest.raises(GmotError, match="c.yaml"):
        parser().parse_args(["--config", str(config)])


def test_missing_config():
    with pytest.raises(GmotError, match="no.yaml: No such file"):
        parser().parse_args(["--config", "no.yaml"])


def test_str2bool():
    assert [str2bool(v) for v in ("1", "True", "no")] == [True, True, False]


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
