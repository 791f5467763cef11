"""Known issues of symbolic links: folders of products that lie on a larger disk."""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from audio import write_part

from gmot.common import atomic_path, empty_folder, setup_logging, write_json
from gmot.data.features import compute_fbank, load_cuts
from gmot.data.manifests import prepare_manifests


@pytest.fixture
def disk(tmp_path):
    """Make ``path`` a link to a folder on "the larger disk", which is returned."""

    def link(path, there=True):
        target = tmp_path / "disk" / path.name
        if there:
            target.mkdir(parents=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return target

    return link


@pytest.mark.parametrize("there", [True, False], ids=["folder", "dangling"])
def test_features_are_made_behind_a_link(tmp_path, disk, there):
    """B30: FileExistsError where the folder of features is a link."""
    write_part(tmp_path / "corpus" / "train", [0.5, 0.6])
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    folder = tmp_path / "fbank" / "toy_feats_train"
    target = disk(folder, there)
    for bins in (40, 20):  # made, and made anew
        compute_fbank("toy", "train", tmp_path / "m", tmp_path / "fbank", num_mel_bins=bins)
        assert folder.is_symlink() and (target / "shard-000.f16").is_file()
        cuts = load_cuts(tmp_path / "fbank", "toy", "train")
        assert [cut.load_features().shape[1] for cut in cuts] == [bins, bins]
    # Without the link, under the name of the folder.
    folder.unlink()
    shutil.move(str(target), str(folder))
    assert len(load_cuts(tmp_path / "fbank", "toy", "train")[0].load_features()) == 50


def test_features_that_cannot_be_made_leave_the_link(tmp_path, disk):
    """B30: the same where not one utterance can be read."""
    write_part(tmp_path / "corpus" / "train", [0.5])
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    (tmp_path / "corpus" / "train" / "wav" / "utt000.wav").write_bytes(b"x" * 99)
    folder = tmp_path / "fbank" / "toy_feats_train"
    target = disk(folder)
    with pytest.raises(Exception, match="utt000.wav"):
        compute_fbank("toy", "train", tmp_path / "m", tmp_path / "fbank")
    assert folder.is_symlink() and list(target.iterdir()) == []


@pytest.mark.parametrize("there", [True, False], ids=["folder", "dangling"])
def test_a_folder_is_replaced_behind_its_link(tmp_path, disk, there):
    """B30: OSError of rmtree for teacher stores, lang folders, teachers, archives, parts."""
    store = tmp_path / "data" / "teacher"
    target = disk(store, there)
    if there:
        (target / "old").write_text("old")
    for number in "12":
        with atomic_path(store) as folder:
            folder.mkdir()
            (folder / "features.bin").write_text(number)
        assert store.is_symlink() and not target.is_symlink()
        assert [p.name for p in target.iterdir()] == ["features.bin"]
        assert (store / "features.bin").read_text() == number
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["teacher"]


def test_a_file_is_replaced_behind_its_link(tmp_path, disk):
    """B30: the link stays, and so does its suffix, by which writers choose their format."""
    target = tmp_path / "disk" / "on_disk"
    target.parent.mkdir()
    (tmp_path / "G.arpa").symlink_to(target)
    for number in (1, 2):
        with atomic_path(tmp_path / "G.arpa") as path:
            assert path.name.endswith("G.arpa")
            path.write_text(str(number))
    assert (tmp_path / "G.arpa").is_symlink() and target.read_text() == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["G.arpa", "disk"]


def test_what_a_kill_left_behind_a_link_is_removed(tmp_path, disk):
    target = disk(tmp_path / "teacher")
    with atomic_path(tmp_path / "teacher") as folder:
        killed = folder.name.replace(str(os.getpid()), "4194303")  # above the largest number
        (target.parent / killed).mkdir()
        folder.mkdir()
    with atomic_path(tmp_path / "teacher") as folder:
        folder.mkdir()
    assert [p.name for p in target.parent.iterdir()] == ["teacher"]


def test_what_another_machine_writes_is_kept_for_a_day(tmp_path):
    other = tmp_path / ".tmp-other-4194303-file.txt"
    for age, left in ((0, ["file.txt", other.name]), (2 * 86400, ["file.txt"])):
        other.write_text("x")
        os.utime(other, (time.time() - age,) * 2)
        with atomic_path(tmp_path / "file.txt") as path:
            path.write_text("y")
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(left)


def test_links_inside_an_emptied_folder_are_not_followed(tmp_path):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").write_text("x")
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "keep")
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    empty_folder(folder)
    assert list(folder.iterdir()) == [] and (tmp_path / "keep" / "file").is_file()


def test_an_experiment_on_another_disk(tmp_path, disk):
    """B30: exp/ is a link whose folder is yet to be made."""
    target = disk(tmp_path / "exp", there=False)
    write_json(tmp_path / "exp" / "config.json", {})
    assert (target / "config.json").is_file()
    shutil.rmtree(target)
    setup_logging(log_file=tmp_path / "exp" / "log" / "train.txt")
    assert (target / "log" / "train.txt").is_file()


@pytest.mark.integration
@pytest.mark.parametrize("there", [True, False], ids=["folder", "dangling"])
def test_a_stage_makes_its_folders_behind_links(bash, tmp_path, disk, there):
    """B30: the whole data folder, and exp/."""
    target = disk(tmp_path / "data", there)
    target.parent.mkdir(exist_ok=True)
    script = """
. "$root/shared/stage.sh"
make_folder data/small/.stages
marker_dir=$PWD/data/small/.stages stage=0 stop_stage=9
stage 4 x --out data/small/product -- eval 'echo done >data/small/product'
"""
    for _ in range(2):
        result = bash(script=script)
        assert result.returncode == 0, result.stderr
    assert "up to date" in result.stderr
    assert (tmp_path / "data").is_symlink() and (target / "small" / "product").is_file()


@pytest.mark.integration
def test_an_environment_behind_a_link(bash, tmp_path, disk):
    """B30: .venv is a link."""
    target = disk(tmp_path / "venv", there=False)
    target.parent.mkdir(exist_ok=True)
    (tmp_path / "none.txt").write_text("")
    for _ in range(2):
        result = bash(
            script='bash "$root/shared/environment.sh" --venv venv --requirements none.txt',
            PYTHON=sys.executable,
        )
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "venv").is_symlink()
        assert (target / "pyvenv.cfg").is_file() and os.access(target / "bin" / "python", os.X_OK)
    assert Path(os.path.realpath(tmp_path / "venv")) == target
