"""Known issues of stages: audio that was replaced, products that are damaged."""

import os

import pytest

pytestmark = pytest.mark.integration

STAGE = """
. "$root/shared/stage.sh"
marker_dir=$PWD/markers stage=0 stop_stage=9
work() { mkdir -p "$PWD/product"; echo one >product/a; echo three >product/b; echo log >>records; }
stage 4 x --out product product/b --keep records -- work
"""


def up_to_date(result):
    assert result.returncode == 0, result.stderr
    return "up to date" in result.stderr


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("rm product/a", "product"),
        ("rm -r product", "product"),
        ("rm product/b", "product/b"),
        ("echo 3 >product/b", "product/b"),
        ("echo new >product/c", "product"),
        ("rm records", "records"),
        (": >records", "records"),
    ],
)
def test_a_damaged_product_is_made_again(bash, tmp_path, damage, named):
    """B23, lhotse#1259: files and folders."""
    bash(script=STAGE)
    assert up_to_date(bash(script=STAGE))
    bash(script=damage)
    result = bash(script=STAGE)
    assert not up_to_date(result)
    assert any(line.endswith(f": {named}") for line in result.stderr.splitlines())
    assert (tmp_path / "product" / "a").read_text() == "one\n"
    assert up_to_date(bash(script=STAGE))


def test_changes_that_are_no_damage_to_a_product(bash, tmp_path):
    """B23: times, temporary files, and files that other commands extend."""
    bash(script=STAGE)
    os.utime(tmp_path / "product" / "a", (1, 1))
    (tmp_path / "product" / ".tmp-1-c").write_text("x")
    (tmp_path / "records").write_text("longer than before")
    assert up_to_date(bash(script=STAGE))


def test_a_product_behind_a_link_is_checked(bash, tmp_path):
    """B23 and B30."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "product").symlink_to("disk")
    bash(script=STAGE)
    assert up_to_date(bash(script=STAGE))
    (tmp_path / "disk" / "a").write_text("")
    assert not up_to_date(bash(script=STAGE))


INPUT = """
. "$root/shared/stage.sh"
marker_dir=$PWD/markers stage=0 stop_stage=9
stage 1 x --in ".hidden/corpus" -- true
"""


@pytest.fixture
def corpus(tmp_path):
    """A folder below a hidden one, with links out of it and back to itself."""
    folder = tmp_path / ".hidden" / "corpus"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "1.wav").write_bytes(b"one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.wav").write_text("x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "a" / "loop").symlink_to(folder)
    return folder


@pytest.mark.parametrize("change", ["replaced", "touched", "added", "removed", "renamed", "linked"])
def test_every_file_of_a_folder_is_an_input(bash, tmp_path, corpus, change):
    """B22, espnet#2698: repaired and replaced recordings were passed over."""
    bash(script=INPUT)
    assert up_to_date(bash(script=INPUT))
    path = corpus / "a" / "b" / "1.wav"
    if change == "replaced":
        path.write_bytes(b"two")
    elif change == "touched":
        os.utime(path, (1, 1))
    elif change == "added":
        (path.parent / "2.wav").write_bytes(b"x")
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(path.parent / "2.wav")
    else:
        (tmp_path / "elsewhere" / "x.wav").write_text("y")
    result = bash(script=INPUT)
    assert not up_to_date(result)
    assert ".hidden/corpus" in result.stderr


def test_hidden_files_are_no_input(bash, corpus):
    """B22: temporary files and locks."""
    bash(script=INPUT)
    (corpus / ".lock").write_text("x")
    (corpus / ".tmp-1").mkdir()
    (corpus / ".tmp-1" / "a").write_text("x")
    assert up_to_date(bash(script=INPUT))
