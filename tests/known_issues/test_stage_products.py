"""Known issues of stages: inputs that are none for the stage, products that are not whole."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio import tone, write_part

from gmot.data.corpus_state import corpus_state
from gmot.data.features import load_cuts
from gmot.data.manifests import load_supervisions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prepare(bash, tmp_path):
    """Stages of a small Kaldi-style corpus; returns what the run said."""
    recipe = tmp_path / "own"
    recipe.mkdir()
    (recipe / "corpus.sh").write_text(
        'speed_perturb=""\nnum_mel_bins=40\nparts="train dev"\nnormalize_text() { cat; }\n'
    )
    (recipe / "prepare.sh").write_text(f'recipe={recipe}\n. "{ROOT}/shared/prepare.sh"\n')
    for part in ("train", "dev"):
        write_part(recipe / "download" / part, [0.5, 0.6], prefix=part)

    def run(*options):
        result = bash(str(recipe / "prepare.sh"), "--venv", "none", *options)
        assert result.returncode == 0, result.stderr
        return result.stderr

    return run


def test_audio_is_an_input(prepare, tmp_path):
    """B22, espnet#2698: repaired and replaced recordings are passed over."""
    wavs = tmp_path / "own" / "download" / "dev" / "wav"
    data = tmp_path / "own" / "data"
    soundfile.write(wavs / "dev001.wav", tone(0.6, rate=8000), 8000)
    prepare("--stop-stage", "2")
    assert [key for key, _ in load_supervisions(data / "manifests", "own", "dev")] == ["dev000"]

    soundfile.write(wavs / "dev001.wav", tone(0.6), 16000)
    said = prepare("--stop-stage", "2")
    assert "now: audio_state='4 files, " in said
    before = {cut.id: cut.load_features() for cut in load_cuts(data / "fbank", "own", "dev")}
    assert sorted(before) == ["dev000", "dev001"]
    assert prepare("--stop-stage", "2").count("up to date") == 3

    size = (wavs / "dev000.wav").stat().st_size
    soundfile.write(wavs / "dev000.wav", tone(0.5, frequency=3000), 16000)
    assert (wavs / "dev000.wav").stat().st_size == size
    said = prepare("--stage", "2", "--stop-stage", "2")  # also where stage 1 is not looked at
    assert "up to date" not in said
    after = {cut.id: cut.load_features() for cut in load_cuts(data / "fbank", "own", "dev")}
    assert {key for key in before if not np.array_equal(before[key], after[key])} == {"dev000"}


def test_features_that_are_gone_or_cut_off_are_made_again(prepare, tmp_path):
    """B23, lhotse#1259: manifests are whole, features are not."""
    fbank = tmp_path / "own" / "data" / "fbank"
    prepare("--stop-stage", "3")
    expected = {cut.id: cut.load_features() for cut in load_cuts(fbank, "own", "train")}

    def whole():
        cuts = load_cuts(fbank, "own", "train")
        return {cut.id: cut.load_features().tolist() for cut in cuts} == {
            key: features.tolist() for key, features in expected.items()
        }

    shutil.rmtree(fbank / "own_feats_train")
    (fbank / "own_feats_dev" / "split-000.f16").write_bytes(b"")
    said = prepare("--stage", "2", "--stop-stage", "3")
    assert f"missing: {fbank}/own_feats_train" in said
    assert f"not whole: {fbank}/own_feats_dev" in said
    assert "Stage 3: validation and statistics: done" in said
    assert whole()

    (fbank / "own_cmvn.json").unlink()
    said = prepare("--stage", "2", "--stop-stage", "2")
    assert f"missing: {fbank}/own_cmvn.json" in said and (fbank / "own_cmvn.json").is_file()
    assert whole()
    assert prepare("--stop-stage", "2").count("up to date") == 3


STAGE = """
. "$root/shared/stages.sh"
marker_dir=$PWD/markers stage=0 stop_stage=9
work() { mkdir -p "$PWD/product"; echo one >product/a; echo three >product/b; echo log >>records; }
stage 4 x "the work" --outputs product product/b --records records -- work
"""


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("rm product/a", "not whole: product"),
        ("rm -r product", "missing: product"),
        ("rm product/b", "missing: product/b"),
        ("echo 3 >product/b", "not whole: product/b"),
        ("echo new >product/c", "not whole: product"),
        ("rm records", "missing: records"),
        (": >records", "missing: records"),
    ],
)
def test_a_product_that_is_not_whole_is_made_again(bash, tmp_path, damage, why):
    """B23: products of every stage, files and folders."""
    bash(script=STAGE)
    assert "up to date" in bash(script=STAGE).stderr
    bash(script=damage)
    said = bash(script=STAGE).stderr
    assert f"  {why}\n" in said and "up to date" not in said
    assert (tmp_path / "product" / "a").read_text() == "one\n"
    assert "up to date" in bash(script=STAGE).stderr


def test_what_is_no_damage_to_a_product(bash, tmp_path):
    """B23: times, temporary files, and records that other commands add to."""
    bash(script=STAGE)
    os.utime(tmp_path / "product" / "a", (1, 1))
    (tmp_path / "product" / ".tmp-1-c").write_text("x")
    (tmp_path / "records").write_text("longer than before")
    assert "up to date" in bash(script=STAGE).stderr


def test_markers_of_earlier_versions_stay_valid(bash, tmp_path):
    """B23: a marker that knows no sizes vouches for what is there."""
    bash(script=STAGE)
    marker = tmp_path / "markers" / "x.done"
    lines = marker.read_text().splitlines(keepends=True)
    assert any(line.startswith("product ") for line in lines)
    marker.write_text("".join(line for line in lines if not line.startswith("product ")))
    assert "up to date" in bash(script=STAGE).stderr


def test_a_product_behind_a_link_is_looked_at(bash, tmp_path):
    """B23 and B30."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "product").symlink_to("disk")
    bash(script=STAGE)
    assert "up to date" in bash(script=STAGE).stderr
    (tmp_path / "disk" / "a").write_text("")
    assert "not whole: product" in bash(script=STAGE).stderr


@pytest.mark.parametrize("change", ["replaced", "touched", "added", "removed", "renamed", "linked"])
def test_the_state_of_a_corpus_sees_every_file(tmp_path, change):
    """B22: names, sizes and times, below folders and links."""
    corpus = tmp_path / "corpus"
    write_part(corpus / "a" / "b", [0.1, 0.2])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.wav").write_text("x")
    (corpus / "link").symlink_to(tmp_path / "elsewhere")
    (corpus / "a" / "loop").symlink_to(corpus)
    before = corpus_state([corpus])
    assert corpus_state([corpus]) == before and before.startswith("5 files")
    path = corpus / "a" / "b" / "wav" / "utt000.wav"
    if change == "replaced":
        path.write_bytes(b"x")
    elif change == "touched":
        os.utime(path, (1, 1))
    elif change == "added":
        (path.parent / "utt002.wav").write_bytes(b"x")
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(path.parent / "utt002.wav")
    else:
        (tmp_path / "elsewhere" / "x.wav").write_text("other")
    assert corpus_state([corpus]) != before


def test_the_state_of_a_corpus_leaves_out_what_is_none_of_it(tmp_path):
    """B22: archives, hidden files and the folders of the recipe's own products."""
    corpus = tmp_path / "corpus"
    write_part(corpus / "dev", [0.1])
    before = corpus_state([corpus], without=[corpus / "data"])
    (corpus / "data").mkdir()
    for name in ("data_aishell.tgz", "x.tar.gz", "x.zip", "y.tgz.part", ".lock", "data/cuts"):
        (corpus / name).write_text("x")
    assert corpus_state([corpus], without=[corpus / "data"]) == before


@pytest.mark.parametrize("separator", [" ", "\t", "   "])
def test_the_state_of_audio_lists(tmp_path, separator):
    """B22: relative, absolute and missing files of wav.scp."""
    write_part(tmp_path / "dev", [0.1, 0.2])
    scp = tmp_path / "dev" / "wav.scp"
    away = tmp_path / "away file.wav"
    scp.write_text(f"a{separator}wav/utt000.wav\r\nb{separator}{away}\nc\n", encoding="utf-8")
    before = corpus_state([scp])
    assert before.startswith("3 files")
    away.write_text("now there")
    between = corpus_state([scp])
    os.utime(tmp_path / "dev" / "wav" / "utt000.wav", (1, 1))
    assert len({before, between, corpus_state([scp])}) == 3
