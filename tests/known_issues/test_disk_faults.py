"""Known issues of disks: full ones (icefall#1030, lhotse#1239), and files cut short by a crash.

A limit on the size of a file stands for a full disk: writing beyond it fails in the same way.
"""

import contextlib
import gzip
import os
import re
import resource
import shutil

import numpy as np
import pytest
import torch
from audio import write_part
from small_bert import save_small_bert

from gmot.common import GmotError, atomic_path, explain, save_tensors, write_json, write_lines
from gmot.data.cuts import read_cuts
from gmot.data.features import compute_fbank, load_cmvn
from gmot.data.manifests import prepare_manifests
from gmot.teacher import FeatureStore, Teacher, store, write_store
from gmot.text.units import Characters


@contextlib.contextmanager
def full_disk(size: int):
    """Files end at ``size`` bytes in this process and in those that it starts."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def truncate(path, share=0.6):
    os.truncate(path, int(path.stat().st_size * share))


def write_gzip(path):
    with atomic_path(path) as temporary, gzip.open(temporary, "wb") as file:
        file.write(np.random.default_rng(0).bytes(9000))


def write_numpy(path):
    with atomic_path(path) as temporary:
        np.save(temporary, np.zeros(9000))


def write_folder(path):
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "small").write_text("x")
        (temporary / "large").write_bytes(bytes(9000))


WRITERS = {
    "lines.txt": lambda path: write_lines(path, ["x" * 9000]),
    "value.json": lambda path: write_json(path, list(range(9000))),
    "tensors.pt": lambda path: save_tensors(path, {"a": torch.zeros(9000), "b": 1}),
    "records.jsonl.gz": write_gzip,
    "array.npy": write_numpy,
    "folder": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path, name):
    path, write = tmp_path / name, WRITERS[name]
    write(path)
    files = [path] if path.is_file() else sorted(path.iterdir())
    before = [file.read_bytes() for file in files]
    with full_disk(5000), pytest.raises(OSError) as error:
        write(path)
    message = explain(error.value)
    assert str(path) in message and "Make room" in message and "\n" not in message
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert [file.read_bytes() for file in files] == before
    write(path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_tensors_are_those_of_torch(tmp_path):
    save_tensors(tmp_path / "a.pt", {"a": torch.arange(5), "b": "x"})
    read = torch.load(tmp_path / "a.pt")
    assert torch.equal(read["a"], torch.arange(5)) and read["b"] == "x"


@pytest.mark.parametrize("name", ["lines.txt", "folder"])
def test_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch, name):
    calls = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def record_replace(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("reads /proc")
    WRITERS[name](tmp_path / name)
    *content, rename, parent = [os.path.basename(call) for call in calls]
    assert rename == "rename" and parent == tmp_path.name
    expected = {"lines.txt": 1, "folder": 3}[name]
    assert len(content) == expected and all(c.endswith(name) for c in content[-1:])


# --- features ------------------------------------------------------------------------------------


@pytest.fixture
def manifests(tmp_path):
    write_part(tmp_path / "corpus" / "train", np.linspace(0.5, 1.5, 6), prefix="t")
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    return tmp_path / "m"


def features(fbank_dir) -> dict[str, np.ndarray]:
    cuts = read_cuts(fbank_dir, "toy", "train")
    return {key: cuts.load_features(row) for row, key in enumerate(cuts.ids)}


@pytest.mark.integration
@pytest.mark.parametrize("num_jobs", [1, 2])
def test_a_full_disk_while_features_are_written(tmp_path, manifests, run_script, num_jobs):
    shutil.rmtree(tmp_path / "corpus")
    write_part(tmp_path / "corpus" / "train", [0.12] * 260)
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], manifests)
    command = ["compute_fbank", "--prefix", "toy", "--splits", "train", "--manifest-dir", manifests]
    command += ["--fbank-dir", tmp_path / "f", "--num-jobs", num_jobs]
    with full_disk(300_000):  # shard-000 has 250 utterances, 480,000 bytes; shard-001 has 10
        result = run_script(*command)
    (line,) = result.stderr.splitlines()[-1:]
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "ignored" not in result.stderr
    assert line.startswith("error:") and "shard-000.f16" in line and "Make room" in line
    assert not list((tmp_path / "f").rglob(".tmp-*"))
    assert not (tmp_path / "f" / "toy_cuts_train.jsonl.gz").exists()
    assert run_script(*command).returncode == 0
    assert len(features(tmp_path / "f")) == 260


@pytest.mark.parametrize("name", ["shard-000.f16", "shard-000.jsonl.gz", "shard-000.json", "cuts"])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_truncated_features_are_computed_anew(tmp_path, manifests, name, share):
    compute_fbank("toy", "train", manifests, tmp_path / "f", write_cmvn=True)
    before = features(tmp_path / "f")
    cuts = tmp_path / "f" / "toy_cuts_train.jsonl.gz"
    path = cuts if name == "cuts" else tmp_path / "f" / "toy_feats_train" / name
    truncate(path, share)
    if name in ("shard-000.f16", "cuts"):
        with pytest.raises(GmotError) as error:
            features(tmp_path / "f")
        assert str(path) in str(error.value) and "fbank stage" in str(error.value)
    compute_fbank("toy", "train", manifests, tmp_path / "f", write_cmvn=True)
    after = features(tmp_path / "f")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_truncated_statistics_are_an_error_and_written_anew(tmp_path, manifests):
    compute_fbank("toy", "train", manifests, tmp_path / "f", write_cmvn=True)
    before = load_cmvn(tmp_path / "f", "toy")
    truncate(tmp_path / "f" / "toy_cmvn.json")
    with pytest.raises(GmotError, match="toy_cmvn.json"):
        load_cmvn(tmp_path / "f", "toy")
    compute_fbank("toy", "train", manifests, tmp_path / "f", write_cmvn=True)
    assert all(map(torch.equal, before, load_cmvn(tmp_path / "f", "toy")))


def test_a_truncated_note_of_the_source_makes_the_features_anew(tmp_path, manifests):
    compute_fbank("toy", "train", manifests, tmp_path / "f")
    truncate(tmp_path / "f" / "toy_feats_train" / "source.json")
    assert compute_fbank("toy", "train", manifests, tmp_path / "f") == 6


@pytest.mark.parametrize("kind", ["recordings", "supervisions"])
def test_a_truncated_manifest_is_an_error_and_keeps_the_features(tmp_path, manifests, kind):
    compute_fbank("toy", "train", manifests, tmp_path / "f")
    path = manifests / f"toy_{kind}_train.jsonl.gz"
    truncate(path)
    with pytest.raises(GmotError) as error:
        compute_fbank("toy", "train", manifests, tmp_path / "f")
    assert str(path) in str(error.value) and "manifests stage" in str(error.value)
    assert len(features(tmp_path / "f")) == 6
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], manifests)
    assert compute_fbank("toy", "train", manifests, tmp_path / "f") == 6


def test_a_full_disk_while_manifests_are_written(tmp_path):
    write_part(tmp_path / "corpus" / "train", np.linspace(0.5, 1.5, 20), prefix="t")
    with full_disk(200), pytest.raises(OSError) as error:
        prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    assert re.search(r"toy_recordings_train\.jsonl\.gz.*Make room", explain(error.value))
    assert list((tmp_path / "m").iterdir()) == []
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")


# --- the teacher's store -------------------------------------------------------------------------

SENTENCES = ["今天天气很好", "他在", "中文", "她在十一", "今天", "好", "今", "天天", "很好很好"]


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_SIZE", 2)  # shards of two sentences
    return Teacher(save_small_bert(tmp_path / "bert", "今天气很好中文他她在十一"))


def stored(folder) -> list[bytes]:
    FeatureStore(folder)
    return [(folder / name).read_bytes() for name in ("features.bin", "index.json")]


def test_a_full_disk_while_the_store_is_written(tmp_path, teacher):
    write_store(tmp_path / "whole", teacher, Characters(), SENTENCES, batch_size=2)
    expected = stored(tmp_path / "whole")
    assert len(expected[0]) == 64 * sum(len(text) + 2 for text in SENTENCES)
    shards = tmp_path / ".shards-store"
    for size, file, finished in ((600, "shard-0003.bin", 3), (1500, "features.bin", 5)):
        with full_disk(size), pytest.raises(OSError) as error:
            write_store(tmp_path / "store", teacher, Characters(), SENTENCES, batch_size=2)
        found = explain(error.value)
        assert "Make room" in found and (file in found or str(tmp_path / "store") in found)
        assert not (tmp_path / "store").exists() and not list(tmp_path.rglob(".tmp-*"))
        assert len(list(shards.glob("shard-*.json"))) == finished
    first = (shards / "shard-0000.bin").stat().st_mtime_ns
    truncate(shards / "shard-0001.bin")
    truncate(shards / "shard-0002.json")
    with full_disk(1500), pytest.raises(OSError):
        write_store(tmp_path / "store", teacher, Characters(), SENTENCES, batch_size=2)
    assert (shards / "shard-0000.bin").stat().st_mtime_ns == first  # not computed again
    write_store(tmp_path / "store", teacher, Characters(), SENTENCES, batch_size=2)
    assert stored(tmp_path / "store") == expected and not shards.exists()


@pytest.mark.parametrize("name", ["features.bin", "index.json"])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_truncated_store_is_an_error_and_written_anew(tmp_path, teacher, name, share):
    write_store(tmp_path / "store", teacher, Characters(), SENTENCES)
    expected = stored(tmp_path / "store")
    truncate(tmp_path / "store" / name, share)
    with pytest.raises(GmotError, match=name):
        FeatureStore(tmp_path / "store")
    write_store(tmp_path / "store", teacher, Characters(), SENTENCES)
    assert stored(tmp_path / "store") == expected


def test_other_sentences_or_another_teacher_start_anew(tmp_path, teacher):
    with full_disk(500), pytest.raises(OSError):
        write_store(tmp_path / "store", teacher, Characters(), SENTENCES, batch_size=2)
    assert list((tmp_path / ".shards-store").glob("shard-*"))
    other = Teacher(tmp_path / "bert", layer=1)
    write_store(tmp_path / "store", other, Characters(), SENTENCES, batch_size=2)
    write_store(tmp_path / "whole", other, Characters(), SENTENCES, batch_size=2)
    assert stored(tmp_path / "store") == stored(tmp_path / "whole")
