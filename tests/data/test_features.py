"""Features are those of the audio, survive a kill, and are found again."""

import os
import shutil

import lhotse
import numpy as np
import pytest
import soundfile
from audio import tone, write_part

from gmot.common import GmotError
from gmot.data.archive import HalfArchiveReader, HalfArchiveWriter, register
from gmot.data.features import compute_fbank, load_cmvn, load_cuts
from gmot.data.manifests import prepare_manifests


def mel_bin(frequency: float, bins: int = 80, low: float = 20.0, high: float = 7600.0) -> float:
    """The bin, from 0, whose centre is at ``frequency``, by the definition of the Mel scale."""

    def mel(f):
        return 1127 * np.log(1 + f / 700)

    return (mel(frequency) - mel(low)) / (mel(high) - mel(low)) * (bins + 1) - 1


def test_an_archive_gives_back_halves_exactly(tmp_path):
    rng = np.random.default_rng(0)
    matrices = [rng.normal(scale=10, size=(n, 4)).astype(np.float32) for n in (3, 1, 7)]
    with HalfArchiveWriter(tmp_path / "a.f16") as writer:
        keys = [writer.write("any", matrix) for matrix in matrices]
    reader = HalfArchiveReader(tmp_path / "a.f16")
    for key, matrix in zip(keys, matrices):
        stored = matrix.astype(np.float16).astype(np.float32)
        assert reader.read(key).dtype == np.float32
        assert np.array_equal(reader.read(key), stored)
        assert np.array_equal(reader.read(key, 1, 3), stored[1:3])
    assert (tmp_path / "a.f16").stat().st_size == 11 * 4 * 2
    with HalfArchiveWriter(tmp_path / "b.f16") as writer:
        key = writer.write("any", matrices[2] + 1)
    os.replace(tmp_path / "b.f16", tmp_path / "a.f16")  # made anew, read by the same process
    assert reader.read(key)[0, 0] == np.float16(matrices[2][0, 0] + 1)


def test_an_explicit_call_registers_the_storage(fbank, monkeypatch):
    """A loading process that is not forked (Python 3.14, macOS) has a registry of its own."""
    cut = load_cuts(fbank, "toy", "dev")[0]
    monkeypatch.delitem(lhotse.features.io.READER_BACKENDS, HalfArchiveReader.name)
    with pytest.raises(TypeError):
        cut.load_features()
    register()
    assert cut.load_features().shape == (70, 80)


def test_features_show_the_tone_and_its_speed(fbank):
    cuts = {cut.id: cut for cut in load_cuts(fbank, "toy", "train")}
    assert len(cuts) == 18
    for key, frequency in (("t003", 500), ("t003_sp0.9", 450), ("t003_sp1.1", 550)):
        features = cuts[key].load_features()
        seconds = 1.1 * frequency**-1 * 500
        assert features.shape == (round(seconds * 100), 80)
        assert cuts[key].duration == pytest.approx(seconds, abs=1e-3)
        peak = features[10:-10].mean(axis=0).argmax()
        assert abs(peak - mel_bin(frequency)) <= 0.75
        assert cuts[key].supervisions[0].text == "AB十一"


def test_features_are_the_extractors_in_half_precision(fbank, corpus):
    import soundfile
    from lhotse import Fbank

    cut = load_cuts(fbank, "toy", "train")[2]
    samples, rate = soundfile.read(corpus / "train" / "wav" / "t002.wav", dtype="float32")
    expected = np.asarray(Fbank().extract(samples, rate))
    assert np.array_equal(cut.load_features(), expected.astype(np.float16).astype(np.float32))


def test_statistics_are_those_of_the_stored_features(fbank):
    frames = np.concatenate([cut.load_features() for cut in load_cuts(fbank, "toy", "train")])
    mean, std = load_cmvn(fbank, "toy")
    assert np.allclose(mean, frames.mean(axis=0, dtype=np.float64), rtol=1e-5, atol=0)
    assert np.allclose(std, frames.std(axis=0, dtype=np.float64), rtol=1e-4, atol=0)
    with pytest.raises(GmotError, match="other_cmvn.json"):
        load_cmvn(fbank, "other")


def test_a_moved_folder_still_loads(fbank, tmp_path):
    expected = load_cuts(fbank, "toy", "dev")[0].load_features()
    shutil.move(str(fbank), str(tmp_path / "elsewhere"))
    assert np.array_equal(
        load_cuts(tmp_path / "elsewhere", "toy", "dev")[0].load_features(), expected
    )


def test_segments_become_cuts_of_their_own(tmp_path):
    folder = tmp_path / "corpus" / "train"
    write_part(folder, [2.0], prefix="talk")
    (folder / "segments").write_text("a talk000 0 0.5\nb talk000 0.5 2\n")
    (folder / "text").write_text("a 一\nb 二\n", encoding="utf-8")
    prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    compute_fbank("toy", "train", tmp_path / "m", tmp_path / "f", speeds=(0.9,))
    cuts = {cut.id: cut for cut in load_cuts(tmp_path / "f", "toy", "train")}
    lengths = {key: len(cut.load_features()) for key, cut in cuts.items()}
    assert lengths == {"a": 50, "b": 150, "a_sp0.9": 56, "b_sp0.9": 167}


@pytest.mark.integration  # lhotse runs ldconfig on unreadable audio
def test_audio_that_breaks_after_the_manifests_is_left_out(corpus, tmp_path):
    prepare_manifests(corpus, "toy", ["train"], tmp_path / "m")
    wav = corpus / "train" / "wav"
    (wav / "t001.wav").unlink()
    (wav / "t002.wav").write_bytes((wav / "t002.wav").read_bytes()[:2000])
    assert compute_fbank("toy", "train", tmp_path / "m", tmp_path / "f", write_cmvn=True) == 4
    assert [c.id for c in load_cuts(tmp_path / "f", "toy", "train")] == [
        "t000", "t003", "t004", "t005",
    ]  # fmt: skip
    report = (tmp_path / "f" / "toy_excluded_train.txt").read_text()
    assert [line.split("\t")[0] for line in report.splitlines()] == ["t001", "t002"]
    for path in wav.glob("*.wav"):
        path.write_bytes(b"this is not audio")
    with pytest.raises(GmotError, match="toy_cuts_train.*unreadable audio"):
        compute_fbank("toy", "train", tmp_path / "m", tmp_path / "g", write_cmvn=True)
    assert not (tmp_path / "g" / "toy_cuts_train.jsonl.gz").exists()


def test_audio_that_was_replaced_makes_the_features_anew(corpus, tmp_path):
    prepare_manifests(corpus, "toy", ["dev"], tmp_path / "m")
    compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f")
    old = {cut.id: cut.load_features() for cut in load_cuts(tmp_path / "f", "toy", "dev")}
    path = corpus / "dev" / "wav" / "d001.wav"
    size = path.stat().st_size
    soundfile.write(path, tone(1.0, frequency=900.0), 16000)  # as long as before
    assert path.stat().st_size == size
    compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f")
    new = {cut.id: cut.load_features() for cut in load_cuts(tmp_path / "f", "toy", "dev")}
    assert {key for key in old if not np.array_equal(old[key], new[key])} == {"d001"}
    assert abs(new["d001"][10:-10].mean(axis=0).argmax() - mel_bin(900)) <= 0.75


def test_audio_that_is_gone_does_not_take_the_features_with_it(corpus, tmp_path):
    prepare_manifests(corpus, "toy", ["dev"], tmp_path / "m")
    compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f")
    shutil.rmtree(corpus)
    with pytest.raises(GmotError, match="'dev'.*3 audio files.*d000.wav"):
        compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f")
    assert len(load_cuts(tmp_path / "f", "toy", "dev")[0].load_features()) == 70


def test_another_option_makes_the_features_anew(corpus, tmp_path):
    prepare_manifests(corpus, "toy", ["dev"], tmp_path / "m")
    compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f")
    made = (tmp_path / "f" / "toy_cuts_dev.jsonl.gz").stat().st_mtime_ns
    compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f")
    assert (tmp_path / "f" / "toy_cuts_dev.jsonl.gz").stat().st_mtime_ns == made
    compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f", num_mel_bins=40)
    assert load_cuts(tmp_path / "f", "toy", "dev")[0].load_features().shape[1] == 40
    write_part(tmp_path / "corpus2" / "dev", [0.5], prefix="x")
    prepare_manifests(tmp_path / "corpus2", "toy", ["dev"], tmp_path / "m")
    assert compute_fbank("toy", "dev", tmp_path / "m", tmp_path / "f") == 1
    assert [cut.id for cut in load_cuts(tmp_path / "f", "toy", "dev")] == ["x000"]


def test_missing_and_broken_inputs_are_errors(tmp_path, fbank):
    with pytest.raises(GmotError, match="'test'.*manifests stage"):
        compute_fbank("toy", "test", tmp_path / "manifests", fbank)
    with pytest.raises(GmotError, match="'test'.*fbank stage"):
        load_cuts(fbank, "toy", "test")
    path = fbank / "toy_cuts_dev.jsonl.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(GmotError, match="toy_cuts_dev.*fbank stage"):
        load_cuts(fbank, "toy", "dev")
