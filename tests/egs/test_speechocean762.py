"""egs/speechocean762 on a made corpus: splits by speakers, groups by age, the archive."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from egs_tables import table

from gmot.common import GmotError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "speechocean762"
# Speakers 0000 to 0023 of train: even ones are children; 9000 to 9003 of test.
SPEAKERS = {"train": [f"{i:04d}" for i in range(24)], "test": [f"{9000 + i}" for i in range(4)]}


def make_corpus(folder, speakers=SPEAKERS):
    """The corpus' folders and files, two utterances a speaker, tabs as published."""
    samples = 0.1 * np.random.default_rng(0).normal(size=16000)
    for split, names in speakers.items():
        (folder / split).mkdir(parents=True)
        utterances = [f"{name}{i}" for name in names for i in range(2)]
        wavs = {u: f"WAVE/SPEAKER{u[:4]}/{u}.WAV" for u in utterances}
        for wav in wavs.values():
            (folder / wav).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / wav, samples, 16000, format="WAV")
        tables = {
            "wav.scp": wavs,
            "text": dict.fromkeys(utterances, "IT'S AN O'CLOCK"),
            "utt2spk": {u: u[:4] for u in utterances},
            "spk2age": {s: 6 + 9 * (int(s) % 2) + int(s) % 2 for s in names},
        }
        for name, rows in tables.items():
            lines = "".join(f"{key}\t{value}\n" for key, value in rows.items())
            (folder / split / name).write_text(lines)
    return folder


def prepare(recipe_script, corpus, output):
    options = ("--corpus-dir", corpus, "--output-dir", output)
    recipe_script("speechocean762", "prepare_corpus", *options)


def test_dev_is_made_of_children_and_adults(recipe_script, tmp_path):
    prepare(recipe_script, make_corpus(tmp_path / "in"), tmp_path / "out")
    speakers = {
        split: set(table(tmp_path / "out" / split / "utt2spk").values())
        for split in ("train", "dev", "test")
    }
    assert speakers["dev"] == {"0000", "0020", "0001", "0021"}  # every tenth of each group
    assert speakers["test"] == set(SPEAKERS["test"])
    assert speakers["train"] | speakers["dev"] == set(SPEAKERS["train"])
    assert not speakers["train"] & speakers["dev"]
    groups = table(tmp_path / "out" / "groups")
    assert groups["0000"] == groups["9002"] == "child" and groups["0001"] == "adult"  # 6, 16
    assert set(groups) == set(SPEAKERS["train"] + SPEAKERS["test"])
    assert table(tmp_path / "out/dev/text")["00001"] == "IT'S AN O'CLOCK"
    assert Path(table(tmp_path / "out/dev/wav.scp")["00001"]).is_file()


def replace(name, old, new):
    def damage(corpus):
        content = (corpus / name).read_text()
        assert old in content
        (corpus / name).write_text(content.replace(old, new))

    return damage


@pytest.mark.parametrize(
    ("damage", "facts"),
    [
        (lambda corpus: (corpus / "test/spk2age").unlink(), ("test/spk2age", "--corpus-dir")),
        (replace("train/spk2age", "0003\t16", "0003\told"), ("00030", "0003", "old")),
        (replace("train/utt2spk", "00031\t0003\n", ""), ("00031", "utt2spk")),
        (replace("test/utt2spk", "\t9000", "\t0001"), ("9000", "0001")),
    ],
)
def test_contradictory_tables_are_refused(recipe_script, tmp_path, damage, facts):
    corpus = make_corpus(tmp_path / "in")
    damage(corpus)
    with pytest.raises(GmotError) as error:
        prepare(recipe_script, corpus, tmp_path / "out")
    assert all(fact in str(error.value) for fact in facts), error.value
    assert not (tmp_path / "out").exists()


def test_speakers_of_two_splits_are_refused(recipe_script, tmp_path):
    corpus = make_corpus(tmp_path / "in", {"train": ["0000", "0001"], "test": ["0001", "0002"]})
    with pytest.raises(GmotError, match="1 speakers in train and in test .0001."):
        prepare(recipe_script, corpus, tmp_path / "out")


@pytest.fixture
def stages(tmp_path):
    """Function that runs stages 0 and 1."""
    (tmp_path / "teacher").mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(*options, stop_stage=1):
        return subprocess.run(
            [
                *("bash", str(RECIPE / "prepare.sh"), "--venv", "none", "--data-dir", "data"),
                *("--teacher", "teacher", "--stop-stage", str(stop_stage), *map(str, options)),
            ],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "RETRY_SECONDS": "0"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def archive(corpus, path):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(corpus, "speechocean762")
    return path


def test_from_the_archive_to_normalised_text(stages, tmp_path):
    from gmot.data.manifests import load_supervisions

    packed = archive(make_corpus(tmp_path / "in"), tmp_path / "mirror" / "speechocean762.tar.gz")
    done = stages("--corpus-dir", "own", "--mirror", f"file://{packed.parent}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "own" / packed.name).is_file()
    found = load_supervisions(tmp_path / "data" / "manifests", "speechocean762", "dev")
    assert found[0] == ("00000", "it's an o'clock") and len(found) == 8
    again = stages("--corpus-dir", "own", "--mirror", f"file://{packed.parent}")
    assert again.stderr.count("up to date") == 3
    unpacked = stages("--corpus-dir", "in")
    assert unpacked.returncode == 0, unpacked.stderr


def test_archives_that_cannot_be_used(stages, tmp_path):
    missing = stages("--corpus-dir", "own", stop_stage=0)
    assert missing.returncode == 1 and "speechocean762.tar.gz" in missing.stderr
    corpus = make_corpus(tmp_path / "in")
    packed = archive(corpus, tmp_path / "own" / "speechocean762.tar.gz")
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    truncated = stages("--corpus-dir", "own", stop_stage=0)
    assert truncated.returncode == 1 and f"{packed}: damaged" in truncated.stderr
    (corpus / "test" / "text").unlink()
    archive(corpus, packed)
    incomplete = stages("--corpus-dir", "own", stop_stage=0)
    assert incomplete.returncode == 1 and "test/text" in incomplete.stderr
    assert not list((tmp_path / "data").glob("speechocean762*"))
