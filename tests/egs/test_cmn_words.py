"""egs/cmn_words: recordings as in its repository, and a Kaldi-style folder with segments."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from egs_tables import table

from gmot.common import GmotError

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("train", "dev", "test")
WORDS = [chr(0x4E00 + i) for i in range(40)]


def prepare(recipe_script, corpus, output):
    recipe_script("cmn_words", "prepare_corpus", "--corpus-dir", corpus, "--output-dir", output)


@pytest.fixture
def checkout(tmp_path):
    if "MP3" not in soundfile.available_formats():
        pytest.skip("libsndfile without MP3")
    folder = tmp_path / "audio-cmn" / "64k" / "hsk"
    folder.mkdir(parents=True)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    for word in [*WORDS, "从_到_"]:
        soundfile.write(folder / f"cmn-{word}.mp3", tone, 22050, format="MP3")
    return tmp_path / "audio-cmn"


def test_recordings_are_converted(recipe_script, checkout, tmp_path):
    prepare(recipe_script, checkout, tmp_path / "out")
    texts = [table(tmp_path / "out" / split / "text") for split in SPLITS]
    assert [len(t) for t in texts] == [36, 2, 2]
    assert sorted(word for t in texts for word in t.values()) == sorted(WORDS)  # no pattern
    for split in SPLITS:
        for path in table(tmp_path / "out" / split / "wav.scp").values():
            samples, rate = soundfile.read(tmp_path / "out" / split / path)
            assert rate == 16000 and abs(len(samples) - 16000) < 1600
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16000 / len(samples) - 440) < 2  # Hz


def test_recordings_that_cannot_be_used(recipe_script, checkout, tmp_path):
    broken = checkout / "64k" / "hsk" / f"cmn-{WORDS[0]}.mp3"
    broken.write_bytes(b"version https://git-lfs")
    with pytest.raises(GmotError, match=broken.name):
        prepare(recipe_script, checkout, tmp_path / "out")
    for path in broken.parent.iterdir():
        path.unlink()
    with pytest.raises(GmotError, match="64k/hsk"):
        prepare(recipe_script, checkout, tmp_path / "out")
    with pytest.raises(GmotError, match=r"wav\.scp"):
        prepare(recipe_script, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_words_of_longer_recordings(recipe_script, tmp_path):
    corpus = tmp_path / "in"
    corpus.mkdir()
    tables = {
        "wav.scp": [("a", "wav/a.ogg"), ("b", "wav/b.ogg")],
        "text": [(f"w{i:02d}", word) for i, word in enumerate(WORDS)],
        "segments": [(f"w{i:02d}", f"{'ab'[i // 20]} {i % 20} {i % 20 + 1}") for i in range(40)],
        "utt2spk": [(f"w{i:02d}", "v") for i in range(40)],
    }
    for name, rows in tables.items():
        text = "".join(f"{key} {value}\n" for key, value in rows)
        (corpus / name).write_text(text, encoding="utf-8")
    prepare(recipe_script, corpus, tmp_path / "out")
    assert table(tmp_path / "out/dev/segments") == {"w18": "a 18 19", "w38": "b 18 19"}
    assert table(tmp_path / "out/dev/text") == {"w18": WORDS[18], "w38": WORDS[38]}
    assert table(tmp_path / "out/test/utt2spk") == {"w19": "v", "w39": "v"}
    assert table(tmp_path / "out/dev/wav.scp")["a"] == str(corpus / "wav/a.ogg")
    assert len(table(tmp_path / "out/train/segments")) == 36


def test_one_commit_is_fetched(checkout, tmp_path):
    identity = [*("-c", "user.name=x", "-c", "user.email=x@example.org")]

    def git(*options):
        command = ["git", *identity, "-C", str(checkout), *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (checkout / "other").mkdir()
    (checkout / "other" / "x").write_text("x")
    git("init", "--quiet")
    git("config", "uploadpack.allowAnySHA1InWant", "true")
    git("add", ".")
    git("commit", "--quiet", "--message", "x")
    commit = git("rev-parse", "HEAD")

    def download(wanted):
        return subprocess.run(
            [
                *("bash", str(ROOT / "egs/cmn_words/local/download.sh")),
                *(str(tmp_path / "copy"), f"file://{checkout}", wanted),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
        )

    refused = download("1" * 40)
    assert refused.returncode == 1 and "1" * 40 in refused.stderr and "--mirror" in refused.stderr
    done = download(commit)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "copy" / "64k" / "hsk").iterdir())) == 41
    assert not (tmp_path / "copy" / "other").exists()
    assert download(commit).stderr == ""
