"""The data scripts as users run them, from another folder, one after the other."""

import numpy as np
import pytest
import soundfile
from small_bert import save_small_bert

from gmot.data.manifests import load_supervisions
from gmot.text.units import Characters, save_units

pytestmark = pytest.mark.integration


def write_corpus(folder):
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("dev", 2)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            soundfile.write(folder / split / f"{i}.wav", rng.normal(scale=0.1, size=16000), 16000)
        ids = [f"{split}{i}" for i in range(count)]
        (folder / split / "wav.scp").write_text(
            "".join(f"{key} {i}.wav\n" for i, key in enumerate(ids))
        )
        (folder / split / "text").write_text(
            "".join(f"{key} 今天 {'天气'[i % 2]}\n" for i, key in enumerate(ids)), encoding="utf-8"
        )


def test_a_corpus_from_audio_to_teacher_features(tmp_path, run_script):
    pytest.importorskip("transformers")

    def passes(name, *arguments, **options):
        result = run_script(name, *arguments, **options)
        assert result.returncode == 0, result.stderr
        return result.stderr

    write_corpus(tmp_path / "corpus")
    common = ["--prefix", "toy", "--splits", "train", "dev"]
    manifests, fbank = tmp_path / "data" / "manifests", tmp_path / "data" / "fbank"
    prepare = [*common, "--corpus-dir", "corpus", "--manifest-dir"]
    passes("prepare_manifests", *prepare, tmp_path / "raw", "--normalizer", "builtins:str",
           cwd=tmp_path)  # fmt: skip
    assert load_supervisions(tmp_path / "raw", "toy", "dev")[0] == ("dev0", "今天 天")
    log = passes("prepare_manifests", *prepare, manifests, cwd=tmp_path)
    assert load_supervisions(manifests, "toy", "dev")[0] == ("dev0", "今天天")
    assert "train: 4 utterances" in log and "dev: 2 utterances" in log

    log = passes(
        "compute_fbank", *common, "--manifest-dir", manifests, "--fbank-dir", fbank,
        "--num-mel-bins", 40, "--speed-perturb", 0.9, "--num-jobs", 1,
    )  # fmt: skip
    assert "train: features of 8 utterances" in log and "dev: features of 2 utterances" in log

    validate = ["validate_manifests", *common, "--fbank-dir", fbank]
    log = passes(*validate, "--num-mel-bins", 40, "--expect", "train=4:1:12", "dev=3")
    assert "train: 8 utterances, 24 characters" in log
    (warning,) = [line for line in log.splitlines() if "WARNING" in line]
    assert "'dev'" in warning and "2 utterances" in warning and "3" in warning
    for options, fact in (
        (["--num-mel-bins", 40, "--expect", "dev=3", "--strict", "true"], "'dev'"),
        (["--num-mel-bins", 40, "--expect", "test=3"], "test"),
        ([], "40 bins"),
    ):
        result = run_script(*validate, *options)
        assert result.returncode == 1
        assert fact in result.stderr and "Traceback" not in result.stderr

    save_small_bert(tmp_path / "bert", "今天气")
    save_units(Characters(), tmp_path / "lang")
    log = passes(
        "compute_teacher", "--prefix", "toy", "--manifest-dir", manifests, "--lang-dir",
        tmp_path / "lang", "--teacher", tmp_path / "bert", "--layer", 1, "--store",
        tmp_path / "data" / "teacher",
    )  # fmt: skip
    assert "2 sentences (of 4 utterances)" in log

    from gmot.teacher import FeatureStore

    store = FeatureStore(tmp_path / "data" / "teacher")
    assert store.get("今天天").shape == (5, 32) and store.get("今天气").shape == (5, 32)


@pytest.mark.parametrize(
    ("name", "options", "fact"),
    [
        ("prepare_manifests", ["--corpus-dir", ".", "--manifest-dir", "."], "wav.scp"),
        (
            "prepare_manifests",
            ["--corpus-dir", ".", "--manifest-dir", ".", "--normalizer", "no.module:f"],
            "no.module:f",
        ),
        ("compute_fbank", ["--manifest-dir", ".", "--fbank-dir", "."], "toy_recordings_train"),
        ("compute_fbank", ["--manifest-dir", "x", "--fbank-dir", "x", "--speed-perturb", 1], "1"),
        ("compute_fbank", ["--manifest-dir", "x", "--fbank-dir", "x", "--num-mel-bins", 3], "3"),
        ("validate_manifests", ["--fbank-dir", "."], "toy_cuts_train"),
    ],
)
def test_errors_are_one_line(tmp_path, run_script, name, options, fact):
    result = run_script(name, "--prefix", "toy", "--splits", "train", *options, cwd=tmp_path)
    assert result.returncode in (1, 2)
    assert result.stderr.count("\n") == 1 and fact in result.stderr
    assert list(tmp_path.iterdir()) == []
