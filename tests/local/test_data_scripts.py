"""The data scripts, run as users run them, from another folder, one after the other."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_bert import save_small_bert

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("prepare_manifests", "compute_fbank", "validate_manifests", "compute_teacher")


def script(name, *arguments, cwd="/"):
    command = [sys.executable, str(ROOT / "local" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def write_corpus(folder):
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("dev", 2)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            soundfile.write(folder / part / f"{i}.wav", rng.normal(scale=0.1, size=16000), 16000)
        ids = [f"{part}{i}" for i in range(count)]
        (folder / part / "wav.scp").write_text(
            "".join(f"{key} {i}.wav\n" for i, key in enumerate(ids))
        )
        (folder / part / "text").write_text(
            "".join(f"{key} 今天{'天气'[i % 2]}\n" for i, key in enumerate(ids)), encoding="utf-8"
        )


def make_teacher(folder):
    pytest.importorskip("transformers")
    save_small_bert(folder, "今天气")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_does_not_wait_for_torch(name):
    path = ROOT / "local" / f"{name}.py"
    code = (
        f"import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(path)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'lhotse' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--prefix" in result.stdout and "usage" in result.stdout


def test_a_corpus_from_audio_to_teacher_features(tmp_path):
    write_corpus(tmp_path / "corpus")
    common = ["--prefix", "toy", "--parts", "train", "dev"]
    manifests, fbank = tmp_path / "data" / "manifests", tmp_path / "data" / "fbank"

    result = script(
        "prepare_manifests", *common, "--corpus-dir", "corpus", "--manifest-dir", manifests,
        "--normalize-command", "cat", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "train: 4 utterances" in result.stderr and "dev: 2 utterances" in result.stderr

    result = script(
        "compute_fbank", *common, "--manifest-dir", manifests, "--fbank-dir", fbank,
        "--num-mel-bins", 40, "--speed-perturb", 0.9, "--num-jobs", 1,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "train: features of 8 utterances" in result.stderr
    assert "dev: features of 2 utterances" in result.stderr

    result = script("validate_manifests", *common, "--fbank-dir", fbank, "--num-mel-bins", 40)
    assert result.returncode == 0, result.stderr
    assert "train: 8 utterances, 24 characters" in result.stderr
    assert "standard deviation" in result.stderr
    result = script("validate_manifests", *common, "--fbank-dir", fbank)
    assert result.returncode == 1
    assert "40 bins, expected 80" in result.stderr and "Traceback" not in result.stderr

    make_teacher(tmp_path / "bert")
    result = script(
        "compute_teacher", "--prefix", "toy", "--manifest-dir", manifests, "--teacher",
        tmp_path / "bert", "--layer", 1, "--store", tmp_path / "data" / "teacher",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "2 sentences (of 4 utterances)" in result.stderr

    from gmot.teacher import FeatureStore

    store = FeatureStore.open(tmp_path / "data" / "teacher")
    assert store.get("今天天").shape == (5, 32) and store.get("今天气").shape == (5, 32)


def test_errors_are_one_line_and_status_1(tmp_path):
    common = ["--prefix", "toy", "--parts", "train"]
    for name, arguments, message in (
        (
            "prepare_manifests",
            [*common, "--corpus-dir", tmp_path, "--manifest-dir", tmp_path],
            "wav.scp is not there",
        ),
        (
            "compute_fbank",
            [*common, "--manifest-dir", tmp_path, "--fbank-dir", tmp_path],
            "Run the manifests stage first",
        ),
        *(
            (
                "compute_fbank",
                [*common, "--manifest-dir", "x", "--fbank-dir", "x", *options],
                options[0],
            )
            for options in (
                ("--speed-perturb", 1.0),
                ("--speed-perturb", "nan"),
                ("--speed-perturb", 0.9, 0.9),
                ("--num-mel-bins", 3),
            )
        ),
        ("validate_manifests", [*common, "--fbank-dir", tmp_path], "Run the fbank stage first"),
        (
            "compute_teacher",
            ["--prefix", "toy", "--manifest-dir", tmp_path, "--teacher", "x", "--store", "x"],
            "Run the manifests stage first",
        ),
    ):
        result = script(name, *arguments, cwd=tmp_path)
        assert result.returncode in (1, 2), name
        assert result.stderr.count("\n") == 1
        assert message in result.stderr and "Traceback" not in result.stderr
        assert list(tmp_path.iterdir()) == []
