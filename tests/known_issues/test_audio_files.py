"""Known issues of audio files: samples that are no numbers, and reasons that are no reasons."""

import gzip
import json

import numpy as np
import pytest
import soundfile
from audio import tone, write_part

from gmot.common import GmotError, read_json, write_json
from gmot.data.archive import HalfArchiveWriter
from gmot.data.audio import LONGEST_CAUSE, describe_audio
from gmot.data.features import compute_fbank, load_cmvn, load_cuts
from gmot.data.manifests import prepare_manifests
from gmot.data.validate import validate_cuts


@pytest.fixture
def corpus(tmp_path):
    """Splits train and dev of three utterances each, manifests made."""
    for split, prefix in (("train", "t"), ("dev", "d")):
        write_part(tmp_path / "corpus" / split, [0.5, 1.6, 0.7], prefix=prefix)
    prepare_manifests(tmp_path / "corpus", "toy", ["train", "dev"], tmp_path / "m")
    return tmp_path / "corpus"


def fbank(tmp_path, split, **options):
    options = {"write_cmvn": split == "train", **options}
    compute_fbank("toy", split, tmp_path / "m", tmp_path / "f", **options)
    report = tmp_path / "f" / f"toy_excluded_{split}.txt"
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return dict(line.split("\t") for line in lines)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_samples_that_are_not_finite_leave_out_their_utterance(corpus, tmp_path, split, value):
    """B05, wenet#496, wav2letter#386, seed-vc PR#108: NaN goes through to scores and statistics."""
    path = next((corpus / split / "wav").glob("*001.wav"))
    samples = tone(1.6)
    samples[4000] = value
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    speeds = (0.9,) if split == "train" else ()
    reasons = fbank(tmp_path, split, speeds=speeds)
    bad = [path.stem, *(f"{path.stem}_sp{speed}" for speed in speeds)]
    assert sorted(reasons) == bad
    assert "not finite" in reasons[path.stem] and "0.250 s" in reasons[path.stem]
    assert str(float(value)) in reasons[path.stem]
    cuts = load_cuts(tmp_path / "f", "toy", split)
    assert len(cuts) == 2 * (1 + len(speeds))
    assert all(np.isfinite(cut.load_features()).all() for cut in cuts)
    validate_cuts(tmp_path / "f", "toy", split)
    if split == "train":
        assert all(np.isfinite(values).all() for values in load_cmvn(tmp_path / "f", "toy"))


def test_samples_too_large_for_features_leave_out_their_utterance(corpus, tmp_path):
    """B05: finite samples whose energies are not."""
    soundfile.write(corpus / "dev" / "wav" / "d001.wav", tone(1.6) * 1e30, 16000, subtype="DOUBLE")
    reasons = fbank(tmp_path, "dev")
    assert list(reasons) == ["d001"] and "not finite" in reasons["d001"]


def test_silence_has_finite_features(corpus, tmp_path):
    """B05: digital silence is an utterance like others."""
    soundfile.write(corpus / "dev" / "wav" / "d001.wav", np.zeros(25600), 16000)
    assert fbank(tmp_path, "dev") == {}
    features = {cut.id: cut.load_features() for cut in load_cuts(tmp_path / "f", "toy", "dev")}
    assert len(features) == 3 and np.isfinite(features["d001"]).all()


def test_pitch_is_finite_or_left_out(corpus, tmp_path):
    """B05, with the features of the pitch."""
    pytest.importorskip("kaldi_native_fbank")
    soundfile.write(corpus / "dev" / "wav" / "d000.wav", np.zeros(8000), 16000)
    samples = tone(1.6)
    samples[:] = np.nan
    soundfile.write(corpus / "dev" / "wav" / "d001.wav", samples, 16000, subtype="FLOAT")
    assert list(fbank(tmp_path, "dev", pitch=True)) == ["d001"]
    cuts = load_cuts(tmp_path / "f", "toy", "dev")
    assert [cut.id for cut in cuts] == ["d000", "d002"]
    assert all(np.isfinite(cut.load_features()).all() for cut in cuts)


def test_an_archive_takes_no_values_that_are_not_finite(tmp_path):
    """B05: the guard where features are stored, also of values beyond half precision."""
    with HalfArchiveWriter(tmp_path / "a.f16") as writer:
        writer.write("a", np.zeros((2, 3), np.float32))
        for value in (np.nan, np.inf, 1e5):
            with pytest.raises(ValueError, match="not finite"):
                writer.write("b", np.full((2, 3), value, np.float32))
    assert (tmp_path / "a.f16").stat().st_size == 12


def test_features_of_an_earlier_version_that_are_not_finite_are_made_anew(corpus, tmp_path):
    """B05: "run the fbank stage again" has an effect."""
    fbank(tmp_path, "train")
    mean, _ = load_cmvn(tmp_path / "f", "toy")
    summary = tmp_path / "f" / "toy_feats_train" / "shard-000.json"
    broken = read_json(summary)
    broken["sum"][3] = float("nan")
    write_json(summary, broken)
    fbank(tmp_path, "train")
    assert np.array_equal(load_cmvn(tmp_path / "f", "toy")[0], mean)


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_audio_too_short_is_left_out_of_every_part(corpus, tmp_path, seconds):
    """B05: empty and very short audio."""
    soundfile.write(corpus / "dev" / "wav" / "d001.wav", tone(seconds), 16000)
    (split,) = prepare_manifests(tmp_path / "corpus", "toy", ["dev"], tmp_path / "m")
    reasons = {**dict(split.excluded), **fbank(tmp_path, "dev")}
    assert list(reasons) == ["d001"]
    assert ("no samples" if seconds == 0 else "0.05 s") in reasons["d001"]


BROKEN = {
    "garbage": (lambda data: b"this is not audio" * 50, "Format not recognised"),
    "half": (lambda data: data[: len(data) // 2], "samples fewer than declared"),
    "gone": (lambda data: None, "No such file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_reason_of_unreadable_audio_is_its_cause(corpus, tmp_path, kind):
    """B07, lhotse#913 and #1437: the last line of an exception is not its cause."""
    damage, cause = BROKEN[kind]
    path = corpus / "dev" / "wav" / "d001.wav"
    data = damage(path.read_bytes())
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    reasons = fbank(tmp_path, "dev")
    assert list(reasons) == ["d001"]
    assert cause in reasons["d001"] and "unreadable audio" in reasons["d001"]
    for noise in ("extra info", "MonoCut", "LHOTSE", "Recording(", "<class"):
        assert noise not in reasons["d001"]
    assert len(reasons["d001"]) < LONGEST_CAUSE + 30


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.sph", "a.opus", "a.mp3"])
@pytest.mark.parametrize("content", [b"", b"this is not audio" * 50])
def test_the_reason_of_an_unreadable_header_is_one_line(tmp_path, name, content):
    """B07: the same where manifests are made."""
    path = tmp_path / name
    path.write_bytes(content)
    reason = describe_audio("a", path)
    assert isinstance(reason, str) and str(path) in reason
    assert "\n" not in reason and "<class" not in reason and "LHOTSE" not in reason
    assert len(reason) < LONGEST_CAUSE + 30 + len(str(path))
    assert reason.split(":")[-1].strip()


def test_the_machines_faults_are_not_the_utterances(corpus, tmp_path, monkeypatch):
    """B07: an error while features are written leaves out no utterance."""

    def full(self, key, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HalfArchiveWriter, "write", full)
    with pytest.raises(OSError, match="No space left"):
        fbank(tmp_path, "dev")
    monkeypatch.undo()
    assert fbank(tmp_path, "dev") == {}


@pytest.mark.parametrize("file", ["f16", "jsonl.gz", "json", "cuts"])
@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_damaged_split_is_made_again(corpus, tmp_path, file, damage):
    """B23, lhotse#1259: what is there is not whole."""
    fbank(tmp_path, "dev")
    before = {cut.id: cut.load_features() for cut in load_cuts(tmp_path / "f", "toy", "dev")}
    path = tmp_path / "f" / "toy_feats_dev" / f"shard-000.{file}"
    if file == "cuts":
        path = tmp_path / "f" / "toy_cuts_dev.jsonl.gz"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-30])
    fbank(tmp_path, "dev")
    cuts = load_cuts(tmp_path / "f", "toy", "dev")
    assert {cut.id: cut.load_features().tolist() for cut in cuts} == {
        key: features.tolist() for key, features in before.items()
    }


def test_not_one_usable_utterance_is_an_error_with_the_first_reason(corpus, tmp_path):
    for path in (corpus / "dev" / "wav").glob("*.wav"):
        soundfile.write(path, np.full(8000, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(GmotError, match="toy_cuts_dev.*not finite"):
        fbank(tmp_path, "dev")
    assert not (tmp_path / "f" / "toy_cuts_dev.jsonl.gz").exists()


def test_manifests_name_each_left_out_file_once(tmp_path):
    """B07: the file of what was left out."""
    write_part(tmp_path / "corpus" / "dev", [0.5, 0.6])
    (tmp_path / "corpus" / "dev" / "wav" / "utt001.wav").write_bytes(b"x" * 300)
    prepare_manifests(tmp_path / "corpus", "toy", ["dev"], tmp_path / "m")
    (line,) = (tmp_path / "m" / "excluded.txt").read_text(encoding="utf-8").splitlines()
    split, key, reason = line.split("\t")
    assert (split, key) == ("dev", "utt001") and "Format not recognised" in reason
    with gzip.open(tmp_path / "m" / "toy_supervisions_dev.jsonl.gz", "rt") as lines:
        assert [json.loads(line)["id"] for line in lines] == ["utt000"]
