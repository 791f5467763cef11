"""Known issues of Kaldi-style folders: ``segments`` as Kaldi's own tools read it."""

import logging

import numpy as np
import pytest
import soundfile
from audio import tone, write_part

from gmot.common import GmotError
from gmot.data.features import compute_fbank, load_cuts
from gmot.data.manifests import prepare_manifests


@pytest.fixture
def talk(tmp_path):
    """A split of one recording ``talk000`` of 2 s; call it with the lines of ``segments``."""
    folder = tmp_path / "corpus" / "train"
    write_part(folder, [2.0], prefix="talk")

    def prepare(*lines, channels=None, ids=None):
        if channels is not None:
            soundfile.write(folder / "wav" / "talk000.wav", np.stack(channels, axis=1), 16000)
        ids = ids or [line.split()[0] for line in lines]
        (folder / "segments").write_text("".join(f"{line}\n" for line in lines))
        (folder / "text").write_text("".join(f"{key} 一\n" for key in ids), encoding="utf-8")
        (split,) = prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
        return split

    return prepare


def places(split):
    return {key: (s.start, s.duration, s.channel) for key, s in split.supervisions.items()}


@pytest.mark.parametrize("end", ["-1", "-1.0", "-1.00"])
def test_an_end_of_minus_one_is_the_end_of_the_recording(talk, end):
    """B01, lhotse#925 and lhotse PR#952: special values of a format taken for numbers."""
    split = talk("u1 talk000 0 1.0", f"u2 talk000 1.0 {end}", f"u3 talk000 0 {end}")
    assert places(split) == {"u1": (0, 1.0, 0), "u2": (1.0, 1.0, 0), "u3": (0, 2.0, 0)}


def test_a_fifth_column_names_the_channel(talk, tmp_path):
    """B02, kaldi PR#4641 and #4677: an optional column refuses the split."""
    split = talk("u1 talk000 0 1.0 0", "u2\ttalk000  1.0\t2.0 ")
    assert places(split) == {"u1": (0, 1.0, 0), "u2": (1.0, 1.0, 0)}

    left, right = tone(2.0, frequency=500), tone(2.0, frequency=2000)
    split = talk(
        "u1 talk000 0 1.0 0", "u2 talk000 1.0 -1 1", "u3 talk000 0 1.0", "u4 talk000 0 1 2",
        "u5 talk000 0 1 B", channels=[left, right],
    )  # fmt: skip
    assert places(split) == {"u1": (0, 1.0, 0), "u2": (1.0, 1.0, 1)}
    reasons = dict(split.excluded)
    assert "2 channels" in reasons["u3"] and "fifth column" in reasons["u3"]
    assert "channel 2" in reasons["u4"] and "2 channels" in reasons["u4"]
    assert "channel B" in reasons["u5"]
    # The features are those of the channel.
    compute_fbank("toy", "train", tmp_path / "m", tmp_path / "f", speeds=(0.9,))
    cuts = {cut.id: cut.load_features() for cut in load_cuts(tmp_path / "f", "toy", "train")}
    assert sorted(cuts) == ["u1", "u1_sp0.9", "u2", "u2_sp0.9"]
    peaks = {key: features[10:-10].mean(axis=0).argmax() for key, features in cuts.items()}
    assert peaks["u2"] > peaks["u2_sp0.9"] > peaks["u1"] + 20


def test_a_channel_of_a_mono_recording_that_it_does_not_have(talk):
    """B02: the error is of the utterance, not of the split."""
    split = talk("u1 talk000 0 1.0", "u2 talk000 1 2 1")
    assert list(split.supervisions) == ["u1"]
    assert "channel 1" in dict(split.excluded)["u2"] and "1 channels" in dict(split.excluded)["u2"]


def test_overshoot_is_trimmed_and_counted(talk, caplog):
    """B03, icefall#2006: half a second beyond the audio costs the utterance."""
    with caplog.at_level(logging.INFO):
        split = talk(
            "u1 talk000 0 2.005", "u2 talk000 1.0 2.2", "u3 talk000 1 2.5", "u4 talk000 1 2.51"
        )
    assert places(split) == {"u1": (0, 2.0, 0), "u2": (1.0, 1.0, 0), "u3": (1.0, 1.0, 0)}
    assert "1.0 to 2.51 s of audio of 2.0 s" in dict(split.excluded)["u4"]
    (line,) = [r.getMessage() for r in caplog.records if " segments trimmed" in r.getMessage()]
    assert "2 segments" in line and "0.50 s" in line and "u3" in line


@pytest.mark.parametrize(
    "place", ["-0.5 1", "1 1", "1 0.5", "2.0 2.3", "2.1 -1", "3 4", "0 -2", "nan 1", "0 inf"]
)
def test_segments_that_are_none_are_left_out_one_by_one(talk, place):
    """Siblings of B01 and B03: negative, empty, reversed and outlying segments."""
    split = talk("u1 talk000 0 1.0", f"u2 talk000 {place}")
    assert list(split.supervisions) == ["u1"]
    assert "segment" in dict(split.excluded)["u2"] and "2.0 s" in dict(split.excluded)["u2"]


@pytest.mark.parametrize("line", ["u2 talk000 0", "u2 talk000 0 1 0 0", "u2 talk000 a b", "u2"])
def test_lines_of_another_form_are_named(talk, line):
    """B02: what is no ``segments`` file stays an error, with its line."""
    with pytest.raises(GmotError, match=f"segments.*'{line.split()[0]}.*recording start end"):
        talk("u1 talk000 0 1.0", line)


def test_repeated_segments_are_an_error_that_names_them(talk):
    with pytest.raises(GmotError, match="segments.* 1 .*u1"):
        talk("u1 talk000 0 1.0", "u1 talk000 1 2", ids=["u1"])


def test_two_channels_without_segments_tell_what_to_do(tmp_path):
    """B02: multi-channel audio of ``wav.scp`` alone."""
    folder = tmp_path / "corpus" / "train"
    write_part(folder, [1.0, 1.0])
    soundfile.write(folder / "wav" / "utt001.wav", np.stack([tone(1)] * 2, axis=1), 16000)
    (split,) = prepare_manifests(tmp_path / "corpus", "toy", ["train"], tmp_path / "m")
    assert list(split.supervisions) == ["utt000"]
    assert "2 channels, expected 1" in dict(split.excluded)["utt001"]
    assert "segments" in dict(split.excluded)["utt001"]
