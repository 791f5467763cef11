"""Features computed when an utterance is loaded are those that the fbank stage stores."""

import json

import numpy as np
import pytest
import torch
from audio import write_part

from gmot.common import GmotError
from gmot.data.config import DataConfig
from gmot.data.cuts import read_cuts
from gmot.data.datamodule import AsrDataModule
from gmot.data.features import compute_fbank, load_cmvn
from gmot.data.manifests import prepare_manifests
from gmot.data.on_the_fly import make_extractor
from gmot.data.validate import validate_cuts


def compute(tmp_path, name, **options):
    folders = {"manifest_dir": tmp_path / "manifests", "fbank_dir": tmp_path / name}
    options = {"speeds": (0.9, 1.1), "write_cmvn": True, **options}
    assert compute_fbank("toy", "train", **folders, **options) == 18
    return tmp_path / name


@pytest.fixture
def unstored(fbank, tmp_path):
    """As ``fbank``, without stored features of the training split."""
    return compute(tmp_path, "unstored", store=False)


def batches(folder, features="stored", num_workers=0):
    config = DataConfig(max_duration=4.0, features=features, num_workers=num_workers)
    loader = AsrDataModule(folder, "toy", config, seed=1).train_dataloader("train")
    loader.set_epoch(1)
    return list(loader)


def same(a, b):
    pairs = list(zip(a, b))
    assert len(a) == len(b) == len(pairs)
    return all(x.ids == y.ids and torch.equal(x.features, y.features) for x, y in pairs)


def test_the_same_numbers_as_stored(fbank, unstored):
    """With copies of other speeds and SpecAugment."""
    stored = batches(fbank)
    assert same(batches(unstored), stored)
    assert same(batches(fbank, "on_the_fly"), stored)
    assert (unstored / "toy_cmvn.json").read_text() == (fbank / "toy_cmvn.json").read_text()
    assert not list(unstored.rglob("*.f16"))
    for cut, other in zip(read_cuts(unstored, "toy", "train"), read_cuts(fbank, "toy", "train")):
        assert cut == other


@pytest.mark.integration  # loading processes
def test_the_same_numbers_in_workers(fbank, unstored):
    assert same(batches(unstored, num_workers=2), batches(fbank))


def test_the_same_numbers_with_pitch_and_segments(tmp_path):
    pytest.importorskip("kaldi_native_fbank")
    folder = tmp_path / "corpus" / "train"
    write_part(folder, [6.0], prefix="talk")
    ends = np.linspace(0, 6, 7).tolist()
    lines = [f"u{n} talk000 {a} {b}\n" for n, (a, b) in enumerate(zip(ends, ends[1:]))]
    (folder / "segments").write_text("".join(lines))
    (folder / "text").write_text("".join(f"u{n} 一\n" for n in range(6)), encoding="utf-8")
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "manifests")
    stored = compute(tmp_path, "stored", pitch=True)
    found = batches(compute(tmp_path, "unstored", pitch=True, store=False))
    assert same(found, batches(stored)) and found[0].features.shape[2] == 83
    assert torch.equal(load_cmvn(tmp_path / "unstored", "toy")[0], load_cmvn(stored, "toy")[0])


def test_the_stage_keeps_what_is_finished_and_notices_the_option(unstored, tmp_path):
    product = unstored / "toy_cuts_train.jsonl.gz"
    made = product.stat().st_mtime_ns
    compute(tmp_path, "unstored", store=False)
    assert product.stat().st_mtime_ns == made
    compute(tmp_path, "unstored")
    assert product.stat().st_mtime_ns != made
    assert len(list(unstored.rglob("*.f16"))) == 1


def test_validation_looks_for_the_audio(unstored, corpus):
    assert validate_cuts(unstored, "toy", "train").utterances == 18
    (corpus / "train" / "wav" / "t002.wav").unlink()
    with pytest.raises(GmotError, match="t002: no audio: .*t002.wav"):
        validate_cuts(unstored, "toy", "train")


@pytest.mark.integration  # lhotse runs ldconfig on unreadable audio
@pytest.mark.parametrize("num_workers", [0, 1])
def test_vanished_audio_is_an_error_that_names_the_utterance(unstored, corpus, num_workers):
    for path in (corpus / "train" / "wav").glob("*.wav"):
        path.unlink()
    with pytest.raises(GmotError, match="^features of 't00.*' cannot be computed.*fbank stage"):
        batches(unstored, num_workers=num_workers)


def test_features_of_another_type_or_without_audio_are_errors(unstored, fbank):
    import gzip

    path = fbank / "toy_cuts_train.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    for record in records:
        record["features"]["type"] = "mfcc"
    records[3].pop("recording")

    def write():
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)

    write()
    with pytest.raises(GmotError, match="line 4.*no recording"):
        batches(fbank, "on_the_fly")
    records.pop(3)
    write()
    with pytest.raises(GmotError, match="mfcc.*data.features"):
        batches(fbank, "on_the_fly")


@pytest.mark.parametrize("frame", [0, 1, 20, 48])
def test_the_centre_of_frame_t_is_t_and_a_half_shifts(frame):
    samples = np.zeros(8000, np.float32)
    samples[160 * frame + 80] = 0.5  # (t + 1/2) 10 ms
    energy = np.exp(make_extractor(80, 16000, False).extract(samples, 16000)).sum(1)
    assert energy.argmax() == frame
    if frame:
        assert energy[frame - 1] == pytest.approx(energy[frame + 1], rel=0.3)  # half a sample
        assert energy[frame - 1] < 0.5 * energy[frame]
