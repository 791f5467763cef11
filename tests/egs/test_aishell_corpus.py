"""Stages 0 and 1 of egs/aishell: from archives, from a mirror, from folders that are only read."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "aishell"
TRANSCRIPT = "data_aishell/transcript/aishell_transcript_v0.8.txt"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tree, unpacked and as archives."""
    folder = tmp_path_factory.mktemp("aishell")
    sample = folder / "sample"
    sample.mkdir()
    random = np.random.default_rng(0)
    for i in range(8):
        soundfile.write(sample / f"u{i}.flac", 0.1 * random.normal(size=8000), 16000)
    text = "".join(f"u{i}\t今天天气{'好热'[i % 2]}\n" for i in range(8))
    (sample / "transcripts.tsv").write_text(text, encoding="utf-8")
    for name, options in (("tree", []), ("archives", ["--archives"])):
        subprocess.run(
            [
                *(sys.executable, str(RECIPE / "local" / "make_tree.py"), *options),
                *("--sample", str(sample), "--output", str(folder / name)),
                *("--num-utterances", "4", "2", "2"),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    return folder


@pytest.fixture
def prepare(tmp_path):
    """Run stages 0 and 1 with a data folder of the test's own."""

    def run(*options, script="prepare.sh"):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [
                *("bash", str(RECIPE / script), "--venv", "none"),
                *("--data-dir", str(tmp_path / "data"), "--stop-stage", "1"),
                *map(str, options),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            timeout=120,
        )

    return run


def manifests(tmp_path):
    return sorted(p.name for p in (tmp_path / "data" / "manifests").glob("*.gz"))


ALL = sorted(
    f"aishell_{kind}_{part}.jsonl.gz"
    for kind in ("recordings", "supervisions")
    for part in ("train", "dev", "test")
)


def state(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def test_an_unpacked_corpus_is_only_read(made, prepare, tmp_path):
    before = state(made / "tree")
    done = prepare("--corpus-dir", made / "tree")
    assert done.returncode == 0, done.stderr
    assert manifests(tmp_path) == ALL
    assert state(made / "tree") == before
    assert not (tmp_path / "data" / "corpus").exists()
    assert "train: 4 of 120,098 utterances, 2 of 340 speakers" in done.stderr
    assert "test: 2 of 7,176 utterances, 1 of 20 speakers, 10 of 104,765 characters" in done.stderr
    assert prepare("--corpus-dir", made / "tree").stderr.count("up to date") == 2


def test_archives_are_unpacked_into_the_data_folder(made, prepare, tmp_path):
    before = state(made / "archives")
    done = prepare("--corpus-dir", os.path.relpath(made / "archives", tmp_path))
    assert done.returncode == 0, done.stderr
    assert "md5sum.txt, not the official ones" in done.stderr
    assert manifests(tmp_path) == ALL
    assert state(made / "archives") == before
    unpacked = tmp_path / "data" / "corpus"
    assert (unpacked / TRANSCRIPT).read_bytes() == (made / "tree" / TRANSCRIPT).read_bytes()
    assert not list(unpacked.rglob("*.gz"))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_mirror_may_be_a_folder(made, prepare, tmp_path, form):
    (tmp_path / "own").mkdir()
    done = prepare(
        *("--corpus-dir", tmp_path / "own", "--mirror", form.format(made / "archives")),
        *("--checksums", made / "archives" / "md5sum.txt"),
    )
    assert done.returncode == 0, done.stderr
    assert manifests(tmp_path) == ALL
    assert list((tmp_path / "own").iterdir()) == []


def test_strict_is_an_error_here_and_not_forgotten(made, prepare, tmp_path):
    assert prepare("--corpus-dir", made / "tree").returncode == 0
    done = prepare("--corpus-dir", made / "tree", "--strict", "true")
    assert done.returncode == 1
    assert "error: the corpus is not the one of" in done.stderr
    assert prepare("--corpus-dir", made / "tree").returncode == 0


def test_archives_that_are_not_the_official_ones_are_refused(made, prepare, tmp_path):
    shutil.copytree(made / "archives", tmp_path / "in")
    (tmp_path / "in" / "md5sum.txt").unlink()
    done = prepare("--corpus-dir", tmp_path / "in")
    assert done.returncode == 1
    assert "expected 2f494334227864a8a8fec932999db9d8" in done.stderr
    assert not list((tmp_path / "data" / "corpus").glob("*"))


def test_a_truncated_archive_whose_checksum_is_right(made, prepare, tmp_path):
    """As if it had been listed when it was cut off already."""
    shutil.copytree(made / "archives", tmp_path / "in")
    archive = tmp_path / "in" / "data_aishell.tgz"
    archive.write_bytes(archive.read_bytes()[:-3000])
    sums = (tmp_path / "in" / "md5sum.txt").read_text().splitlines()
    sums[0] = f"{hashlib.md5(archive.read_bytes()).hexdigest()}  {archive.name}"
    (tmp_path / "in" / "md5sum.txt").write_text("\n".join(sums) + "\n")
    done = prepare("--corpus-dir", tmp_path / "in")
    assert done.returncode == 1
    assert "data_aishell.tgz: cut off or damaged" in done.stderr
    assert "Stage 0: the corpus: stopped" in done.stderr
    assert not list((tmp_path / "data" / "corpus").glob("*"))


def test_corrected_archives_and_transcripts_are_noticed(made, prepare, tmp_path):
    shutil.copytree(made / "tree", tmp_path / "tree")
    assert prepare("--corpus-dir", tmp_path / "tree").returncode == 0
    transcript = tmp_path / "tree" / TRANSCRIPT
    text = transcript.read_text(encoding="utf-8")
    transcript.write_text(text.replace("热", "冷"), encoding="utf-8")
    again = prepare("--corpus-dir", tmp_path / "tree").stderr
    assert "Stage 1: manifests: runs again" in again and "Stage 0: the corpus: up to date" in again

    # Another corpus in the same data folder.
    archives = prepare("--corpus-dir", made / "archives").stderr
    assert "Stage 0: the corpus: runs again" in archives


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda t: shutil.rmtree(t / "data_aishell"), "neither data_aishell/ nor data_aishell.tgz"),
        (lambda t: shutil.rmtree(t / "data_aishell/wav/dev"), "no folder .*wav/dev"),
        (lambda t: (t / TRANSCRIPT).unlink(), "no transcripts: .* is not there"),
    ],
)
def test_what_is_not_there_is_named(made, prepare, tmp_path, damage, message):
    import re

    shutil.copytree(made / "tree", tmp_path / "tree")
    damage(tmp_path / "tree")
    done = prepare("--corpus-dir", tmp_path / "tree")
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Stage 1" not in done.stderr


def test_the_inner_folder_is_recognised(made, prepare):
    done = prepare("--corpus-dir", made / "tree" / "data_aishell")
    assert done.returncode == 1
    assert "this is data_aishell itself; give the folder above it" in done.stderr
