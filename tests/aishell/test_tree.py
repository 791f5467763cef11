"""The generated AISHELL-1: lhotse's recipe reads it, and its archives are the tree."""

import re
import subprocess
import sys
from pathlib import Path

import lhotse.recipes
import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / "tests" / "aishell"
TEXTS = ["今天天气很好", "北京 上海 广州", "我们去看电影", "他有AB两个", "一二三", "二十九度我们"]


@pytest.fixture(autouse=True)
def local_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(LOCAL))


def noise(seconds, rate, seed):
    return 0.1 * np.random.default_rng(seed).normal(size=int(seconds * rate))


@pytest.fixture
def sample(tmp_path):
    """Six files of 24 kHz in the form of a sample, one with Latin letters."""
    folder = tmp_path / "sample"
    folder.mkdir()
    lines = []
    for i, text in enumerate(TEXTS):
        name = f"BAC009S0150W{i + 1:04d}"
        soundfile.write(folder / f"{name}.flac", noise(0.5, 24000, i), 24000)
        lines.append(f"{name}\t{text}\n")
    (folder / "transcripts.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def make(*options):
    command = [sys.executable, str(LOCAL / "make_tree.py"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_the_tree_is_what_lhotse_reads(sample, tmp_path):
    made = make(
        *("--sample", sample, "--output", tmp_path / "tree"),
        *("--num-utterances", "3", "1", "1", "--speakers", "2", "1", "1"),
    )
    assert made.returncode == 0, made.stderr
    manifests = lhotse.recipes.prepare_aishell(tmp_path / "tree")
    found = {
        part: {s.id: (s.speaker, s.text) for s in manifests[part]["supervisions"]}
        for part in ("train", "dev", "test")
    }
    # In the order of the names, without the text with letters; the numbers are kept.
    assert found == {
        "train": {
            "BAC009S0002W0001": ("S0002", "今天天气很好"),
            "BAC009S0002W0002": ("S0002", "北京上海广州"),
            "BAC009S0003W0003": ("S0003", "我们去看电影"),
        },
        "dev": {"BAC009S0724W0005": ("S0724", "一二三")},
        "test": {"BAC009S0764W0006": ("S0764", "二十九度我们")},
    }
    for part in found:
        for recording in manifests[part]["recordings"]:
            assert (recording.sampling_rate, recording.num_channels) == (16000, 1)
            assert recording.duration == pytest.approx(0.5)


def test_resources_have_the_form_of_the_real_ones(sample, tmp_path):
    make("--sample", sample, "--output", tmp_path, "--num-utterances", "2", "1", "1")
    lines = (tmp_path / "resource_aishell/lexicon.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["SIL sil", "<SPOKEN_NOISE> sil"]
    assert all(re.fullmatch(r"[\u4e00-\u9fff]+( [a-z]+[1-5]?)+", line) for line in lines[2:])
    lexicon = dict(line.split(" ", 1) for line in lines)
    assert lexicon["电影"] == "d ian4 ii ing3"
    assert lexicon["二"] == "ee er4" and lexicon["我们"] == "uu uo3 m en5"
    assert lexicon["上海"] == "sh ang4 h ai3" and lexicon["很"] == "h en3"
    transcript = tmp_path / "data_aishell/transcript/aishell_transcript_v0.8.txt"
    rows = [line.split() for line in transcript.read_text(encoding="utf-8").splitlines()]
    assert rows == sorted(rows)
    assert {word for _, *words in rows for word in words} <= lexicon.keys()
    assert any(len(word) > 1 for _, *words in rows for word in words)
    speakers = (tmp_path / "resource_aishell/speaker.info").read_text()
    assert speakers == "0002 F\n0003 M\n0724 F\n0764 M\n"


def test_the_archives_hold_the_tree_and_are_always_the_same(sample, tmp_path):
    options = ("--sample", sample, "--num-utterances", "3", "1", "1")
    make(*options, "--output", tmp_path / "tree")
    for name in ("one", "two"):
        made = make(*options, "--output", tmp_path / name, "--archives")
        assert made.returncode == 0, made.stderr
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert sorted(files(tmp_path / "one")) == [
        "data_aishell.tgz",
        "md5sum.txt",
        "resource_aishell.tgz",
    ]
    download = ROOT / "egs" / "aishell" / "local" / "download.sh"
    archives, out = tmp_path / "one", tmp_path / "out"
    command = ["bash", download, archives, out, archives / "md5sum.txt", ""]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    unpacked = {k: v for k, v in files(out).items() if not k.startswith(".")}
    assert unpacked == files(tmp_path / "tree")


def test_the_archive_has_one_of_each_speaker(sample, tmp_path):
    import tarfile

    make("--sample", sample, "--output", tmp_path, "--num-utterances", "3", "1", "1", "--archives")
    with tarfile.open(tmp_path / "data_aishell.tgz") as tar:
        inner = [name for name in tar.getnames() if name.endswith(".gz")]
        assert inner == [f"data_aishell/wav/S0{n}.tar.gz" for n in ("002", "003", "724", "764")]
        with tarfile.open(fileobj=tar.extractfile("data_aishell/wav/S0003.tar.gz")) as speaker:
            assert speaker.getnames() == [
                "train",
                "train/S0003",
                "train/S0003/BAC009S0003W0003.wav",
            ]


def test_kaldi_folders(tmp_path):
    for part, count in (("train", 3), ("dev", 2), ("test", 1)):
        folder = tmp_path / "kaldi" / part
        folder.mkdir(parents=True)
        names = [f"{part}-{i}" for i in range(count)]
        for i, name in enumerate(names):
            soundfile.write(folder / f"{name}.wav", noise(0.3, 16000, i), 16000)
        (folder / "wav.scp").write_text("".join(f"{n} {n}.wav\n" for n in names))
        (folder / "text").write_text("".join(f"{n} 好{n}\n" for n in names), encoding="utf-8")
    kaldi = ("--kaldi-dir", tmp_path / "kaldi")
    refused = make(*kaldi, "--output", tmp_path / "tree")
    assert refused.returncode == 1 and "0 utterances can be used" in refused.stderr
    made = make(*kaldi, "--output", tmp_path / "tree", "--only-chinese", "false")
    assert made.returncode == 0, made.stderr
    wavs = sorted(p.name for p in (tmp_path / "tree").rglob("*.wav"))
    assert wavs == [
        *("BAC009S0002W0121.wav", "BAC009S0002W0122.wav", "BAC009S0003W0123.wav"),
        *("BAC009S0724W0121.wav", "BAC009S0724W0122.wav", "BAC009S0764W0121.wav"),
    ]
    audio, _ = soundfile.read(tmp_path / "tree/data_aishell/wav/train/S0002/BAC009S0002W0122.wav")
    assert np.abs(audio - noise(0.3, 16000, 1)).max() < 1e-4


@pytest.mark.parametrize(
    "options, message",
    [
        (("--num-utterances", "5", "1", "1"), "5 utterances can be used, 7 are asked for"),
        (("--num-utterances", "1", "1", "1"), "1 utterances for 2 speakers"),
        (("--output", "{tree}", "--num-utterances", "2", "1", "1"), "is there"),
    ],
)
def test_refusals(sample, tmp_path, options, message):
    tree = tmp_path / "tree"
    (tree / "data_aishell").mkdir(parents=True)
    made = make(
        *("--sample", sample, "--output", tmp_path / "new"),
        *(option.format(tree=tree) for option in options),
    )
    assert made.returncode == 1
    assert message in made.stderr and "Traceback" not in made.stderr


def test_segmentation_prints_nothing_of_its_own():
    """jieba warns of pkg_resources and tells how it reads its dictionary."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(LOCAL)!r}]\n"
        "import tree; tree.segment('今天天气很好')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
