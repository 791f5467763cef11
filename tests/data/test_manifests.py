"""Manifests hold what can be used, name what cannot, and say why."""

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio import tone, write_part
from lhotse import RecordingSet, SupervisionSet

from gmot.common import GmotError
from gmot.data.manifests import load_supervisions, prepare_manifests


def prepare(corpus, tmp_path, splits=("train",), **options):
    return prepare_manifests(corpus, "toy", splits, tmp_path / "manifests", **options)


def excluded(tmp_path):
    lines = (tmp_path / "manifests" / "excluded.txt").read_text(encoding="utf-8").splitlines()
    return {line.split("\t")[1]: line.split("\t")[2] for line in lines}


def test_manifests_of_a_good_corpus(corpus, tmp_path, monkeypatch):
    (corpus / "train" / "utt2spk").write_text("t000 anna\nt001 bert\n")
    monkeypatch.chdir(corpus.parent)  # a relative folder must not make relative paths
    prepare(Path("corpus"), tmp_path, ["train", "dev"])

    recordings = RecordingSet.from_file(tmp_path / "manifests" / "toy_recordings_train.jsonl.gz")
    supervisions = SupervisionSet.from_file(
        tmp_path / "manifests" / "toy_supervisions_train.jsonl.gz"
    )
    assert [s.id for s in supervisions] == [f"t{i:03d}" for i in range(6)]
    durations = [round(s.duration, 6) for s in supervisions]
    assert durations == pytest.approx(np.linspace(0.5, 1.5, 6), abs=1e-4)
    assert [s.speaker for s in supervisions][:3] == ["anna", "bert", None]
    for recording in recordings:
        path = Path(recording.sources[0].source)
        assert path.is_absolute() and path.is_file()
    assert load_supervisions(tmp_path / "manifests", "toy", "dev")[0] == ("d000", "今天天气很好")
    assert not (tmp_path / "manifests" / "excluded.txt").exists()


@pytest.mark.integration  # lhotse runs ldconfig on unreadable audio
def test_what_cannot_be_used_is_left_out_with_its_reason(corpus, tmp_path):
    wav = corpus / "train" / "wav"
    (wav / "t000.wav").unlink()
    (wav / "t001.wav").write_bytes(b"this is not audio" * 50)
    soundfile.write(wav / "t002.wav", tone(1, rate=8000), 8000)
    soundfile.write(wav / "t003.wav", np.stack([tone(1), tone(1)], axis=1), 16000)
    soundfile.write(wav / "empty.wav", np.zeros(0), 16000)
    with open(corpus / "train" / "wav.scp", "a") as scp:
        scp.write("silent wav/t005.wav\nmute wav/t005.wav\nnothing wav/empty.wav\n")
    with open(corpus / "train" / "text", "a", encoding="utf-8") as text:
        text.write("mute\nghost 没有\nnothing 没有\n")
    (split,) = prepare(corpus, tmp_path, resample=False)

    assert sorted(split.supervisions) == ["t004", "t005"]
    reasons = excluded(tmp_path)
    assert set(reasons) == {
        "t000", "t001", "t002", "t003", "silent", "mute", "ghost", "nothing",
    }  # fmt: skip
    assert "no such file" in reasons["t000"] and "t000.wav" in reasons["t000"]
    assert "unreadable audio" in reasons["t001"]
    assert "8000 Hz, expected 16000 Hz" in reasons["t002"]
    assert "2 channels" in reasons["t003"]
    assert reasons["silent"] == "no transcript"
    assert reasons["mute"] == "empty transcript"
    assert reasons["ghost"] == "transcript without audio"
    assert "no samples" in reasons["nothing"]
    assert [i for i, _ in load_supervisions(tmp_path / "manifests", "toy", "train")] == [
        "t004",
        "t005",
    ]


def test_the_report_of_an_earlier_run_does_not_stay(corpus, tmp_path):
    text = (corpus / "train" / "text").read_text(encoding="utf-8")
    (corpus / "train" / "text").write_text(text.partition("\n")[2], encoding="utf-8")
    prepare(corpus, tmp_path)
    assert excluded(tmp_path) == {"t000": "no transcript"}
    (corpus / "train" / "text").write_text(text, encoding="utf-8")
    prepare(corpus, tmp_path)
    assert not (tmp_path / "manifests" / "excluded.txt").exists()


def test_a_split_without_usable_utterances_is_an_error(corpus, tmp_path):
    with pytest.raises(GmotError, match=r"'train'.*6 utterances.*16000 Hz, expected 8000"):
        prepare(corpus, tmp_path, sampling_rate=8000, resample=False)
    assert not (tmp_path / "manifests").exists()


@pytest.mark.parametrize("name", ["wav.scp", "text"])
def test_a_missing_or_empty_list_is_an_error(corpus, tmp_path, name):
    (corpus / "train" / name).write_text("")
    with pytest.raises(GmotError, match=name):
        prepare(corpus, tmp_path)
    (corpus / "train" / name).unlink()
    with pytest.raises(GmotError, match=name):
        prepare(corpus, tmp_path)


def test_splits_that_overlap_are_an_error_that_names_utterances(corpus, tmp_path):
    for name in ("wav.scp", "text"):
        with open(corpus / "dev" / name, "a", encoding="utf-8") as table:
            for key in ("t003", "t001"):
                table.write(f"{key} ../train/wav/{key}.wav\n")
    with pytest.raises(GmotError, match="'train'.*'dev'.*2 utterances: t001, t003"):
        prepare(corpus, tmp_path, ["train", "dev"])
    assert not (tmp_path / "manifests").exists()


@pytest.mark.parametrize("name", ["wav.scp", "text"])
def test_repeated_ids_are_an_error_that_names_them(corpus, tmp_path, name):
    with open(corpus / "train" / name, "a", encoding="utf-8") as table:
        table.write("t003 wav/t003.wav\n")
    with pytest.raises(GmotError, match=r"t003"):
        prepare(corpus, tmp_path)


def test_a_command_in_wav_scp_is_an_error(corpus, tmp_path):
    (corpus / "train" / "wav.scp").write_text("t000 sox a.wav -t wav - |\n")
    with pytest.raises(GmotError, match="wav.scp.*'t000'"):
        prepare(corpus, tmp_path)


def test_transcripts_are_normalised_by_a_function(corpus, tmp_path):
    seen = []

    def normalizer(text):
        seen.append(text)
        return "" if text == "她 坐 车 去" else text.replace(" ", "")

    prepare(corpus, tmp_path, ["train", "dev"], normalizer=normalizer)
    pairs = dict(load_supervisions(tmp_path / "manifests", "toy", "train"))
    assert pairs["t003"] == "AB十一"
    assert excluded(tmp_path) == {"t002": "empty transcript", "d002": "empty transcript"}
    assert len(seen) == 9


def fail(text):
    raise KeyError(text)


@pytest.mark.parametrize("normalizer", [lambda text: None, str.encode, fail])
def test_a_normaliser_that_fails_is_an_error_that_names_it(corpus, tmp_path, normalizer):
    with pytest.raises(GmotError, match=r"t000") as error:
        prepare(corpus, tmp_path, normalizer=normalizer)
    assert normalizer.__qualname__ in str(error.value)
    assert not (tmp_path / "manifests").exists()


def test_tags_are_counted_in_the_log(corpus, tmp_path, caplog):
    """B09: tags are not spoken."""
    (corpus / "train" / "text").write_text(
        "t000 [noise] 好\nt001 你[noise]<UNK>\nt002 [x]好\n", encoding="utf-8"
    )
    with caplog.at_level(logging.INFO):
        prepare(corpus, tmp_path)
    assert [text for _, text in load_supervisions(tmp_path / "manifests", "toy", "train")] == [
        "好", "你<unk>", "好",
    ]  # fmt: skip
    assert "4 tags" in caplog.text and "[noise] 2" in caplog.text and "<UNK> 1" in caplog.text


def test_transcripts_keep_characters_that_look_like_line_ends(corpus, tmp_path):
    with open(corpus / "train" / "text", "w", encoding="utf-8") as text:
        text.write("\ufefft000\t今天\u2028天气\nt001  他在 \n")
    prepare(corpus, tmp_path, normalizer=str)
    assert load_supervisions(tmp_path / "manifests", "toy", "train") == [
        ("t000", "今天 天气"),
        ("t001", "他在"),
    ]


def test_segments_of_long_recordings(tmp_path):
    folder = tmp_path / "corpus" / "train"
    write_part(folder, [3.0], prefix="talk")
    (folder / "segments").write_text("a talk000 0 1.5\nb talk000 1.5 3\nc talk000 2 9\nd no 0 1\n")
    (folder / "text").write_text("a 一\nb 二\nc 三\nd 四\n", encoding="utf-8")
    (split,) = prepare(tmp_path / "corpus", tmp_path)
    assert {k: (s.start, s.duration) for k, s in split.supervisions.items()} == {
        "a": (0.0, 1.5),
        "b": (1.5, 1.5),
    }
    assert "2.0 to 9.0 s of audio of 3.0 s" in excluded(tmp_path)["c"]
    assert "not in wav.scp" in excluded(tmp_path)["d"]
    (folder / "segments").write_text("a talk000 zero one\n")
    with pytest.raises(GmotError, match="segments.*zero one"):
        prepare(tmp_path / "corpus", tmp_path)


def test_a_recipe_of_lhotse(tmp_path):
    folder = tmp_path / "waves_yesno"  # 60 files named by what is said in them
    folder.mkdir()
    for i in range(60):
        name = "_".join(f"{i:08b}")
        soundfile.write(folder / f"{name}.wav", tone(0.3, rate=8000), 8000)
    splits = prepare_manifests(
        folder, "yn", ["train", "test"], tmp_path / "m", recipe="yesno", sampling_rate=8000
    )
    assert [len(split.supervisions) for split in splits] == [30, 30]
    assert load_supervisions(tmp_path / "m", "yn", "train")[0] == (
        "0_0_0_0_0_0_0_0",
        "NO NO NO NO NO NO NO NO",
    )
    with pytest.raises(GmotError, match="'dev'.*train, test"):
        prepare_manifests(folder, "yn", ["dev"], tmp_path / "m", recipe="yesno")
    with pytest.raises(GmotError, match="'nonesuch'"):
        prepare_manifests(folder, "yn", ["dev"], tmp_path / "m", recipe="nonesuch")
    (folder / "0_0_0_0_0_0_0_0.wav").unlink()
    with pytest.raises(GmotError, match="'yesno'.*waves_yesno"):
        prepare_manifests(folder, "yn", ["train"], tmp_path / "m", recipe="yesno")


@pytest.mark.integration  # lhotse runs ldconfig on unreadable audio
def test_the_log_of_a_recipe_is_summarized(tmp_path, caplog):
    """AISHELL: two lines per recording without transcript; the root logger is unchanged."""
    corpus = tmp_path / "corpus" / "data_aishell"
    (corpus / "transcript").mkdir(parents=True)
    lines = []
    for split, speaker in (("train", "S0002"), ("dev", "S0724"), ("test", "S0764")):
        folder = corpus / "wav" / split / speaker
        folder.mkdir(parents=True)
        for number in (121, 122):
            key = f"BAC009{speaker}W{number:04d}"
            soundfile.write(folder / f"{key}.wav", tone(0.3), 16000)
            if key != "BAC009S0764W0122":
                lines.append(f"{key} 今天 天气\n")
    transcripts = corpus / "transcript" / "aishell_transcript_v0.8.txt"
    transcripts.write_text("".join(lines), encoding="utf-8")
    root = logging.getLogger()
    with caplog.at_level(logging.INFO):
        before = (root.level, list(root.filters))
        splits = prepare_manifests(
            corpus.parent, "toy", ["train", "dev", "test"], tmp_path / "m", recipe="aishell"
        )
        assert (root.level, root.filters) == before
    assert [len(split.supervisions) for split in splits] == [2, 2, 1]
    assert list(splits[0].recordings) == sorted(splits[0].recordings)  # not in directory order
    (told,) = [r.getMessage() for r in caplog.records if "BAC009S0764W0122" in r.getMessage()]
    assert "aishell" in told and "2 warnings" in told
    (corpus / "wav/dev/S0724/BAC009S0724W0122.wav").write_bytes(b"no audio")
    with pytest.raises(GmotError, match="aishell.*BAC009S0724W0122.wav"):
        prepare_manifests(corpus.parent, "toy", ["dev"], tmp_path / "m", recipe="aishell")


def test_broken_supervisions_are_errors(tmp_path):
    with pytest.raises(GmotError, match="toy_supervisions_train"):
        load_supervisions(tmp_path, "toy", "train")
    path = tmp_path / "toy_supervisions_train.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a", "text": "b"}\n' * 100)[:-20])
    with pytest.raises(GmotError, match="toy_supervisions_train"):
        load_supervisions(tmp_path, "toy", "train")
    path.write_bytes(gzip.compress(b'{"id": "a"}'))
    with pytest.raises(GmotError, match="toy_supervisions_train.*text"):
        load_supervisions(tmp_path, "toy", "train")
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(GmotError, match="toy_supervisions_train"):
        load_supervisions(tmp_path, "toy", "train")
