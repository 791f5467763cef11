"""What a corpus lacks is counted and named; what contradicts itself is refused."""

import logging
import shutil
from pathlib import Path

import pytest
import soundfile
import yaml
from audio import tone

from gmot.common import GmotError
from gmot.data.inventory import Inventory
from gmot.data.manifests import prepare_manifests

TRANSCRIPTS = "data_aishell/transcript/aishell_transcript_v0.8.txt"
PARTS = {"train": ("S0002", "S0003"), "dev": ("S0724",), "test": ("S0764",)}
INVENTORY = {
    "transcripts": TRANSCRIPTS,
    "audio": "data_aishell/wav/{part}",
    "speaker": "S[0-9]{4}",
    "parts": {
        "train": {"utterances": 4, "speakers": 2, "characters": 16},
        "dev": {"utterances": 2},
        "test": {"utterances": 2, "characters": 8},
    },
}


@pytest.fixture
def corpus(tmp_path):
    """A corpus in the form that lhotse's recipe 'aishell' reads: two utterances a speaker."""
    folder = tmp_path / "corpus"
    lines = []
    for part, speakers in PARTS.items():
        for speaker in speakers:
            where = folder / "data_aishell" / "wav" / part / speaker
            where.mkdir(parents=True)
            for number in (121, 122):
                key = f"BAC009{speaker}W{number:04d}"
                soundfile.write(where / f"{key}.wav", tone(0.3), 16000)
                lines.append(f"{key} 今天 天气\n")
    (folder / TRANSCRIPTS).parent.mkdir()
    (folder / TRANSCRIPTS).write_text("".join(lines), encoding="utf-8")
    (tmp_path / "inventory.yaml").write_text(yaml.safe_dump(INVENTORY))
    return folder


def prepare(corpus, **options):
    return prepare_manifests(
        corpus,
        "toy",
        list(PARTS),
        corpus.parent / "manifests",
        **{"recipe": "aishell", "inventory": corpus.parent / "inventory.yaml", **options},
    )


def transcripts(corpus) -> Path:
    return corpus / TRANSCRIPTS


def edit(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def excluded(corpus):
    lines = (corpus.parent / "manifests" / "excluded.txt").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines]


def test_a_corpus_as_it_was_published(corpus, caplog):
    with caplog.at_level(logging.INFO):
        parts = prepare(corpus, strict=True)
    assert [len(part.supervisions) for part in parts] == [4, 2, 2]
    for part in parts:  # not in the file system's order
        assert list(part.supervisions) == sorted(part.supervisions)
        assert list(part.recordings) == sorted(part.recordings)
    assert "the corpus holds what inventory.yaml says" in caplog.text


def test_recordings_without_transcript_are_excluded_and_told(corpus, caplog):
    edit(transcripts(corpus), lambda text: text.replace("BAC009S0003W0122 今天 天气\n", ""))
    parts = prepare(corpus)
    assert "BAC009S0003W0122" not in parts[0].supervisions
    assert excluded(corpus) == [("train", "BAC009S0003W0122", "no transcript")]
    assert "part 'train': 1 of 4 utterances left out (1 no transcript)" in caplog.text
    assert (
        "train: 3 of 4 utterances, 12 of 16 characters "
        "(left out: 1 no transcript; for example BAC009S0003W0122)"
    ) in caplog.text
    assert "has no transcript." not in caplog.text  # lhotse's two lines for each of them


def test_transcripts_without_recording_are_told_by_speaker(corpus, caplog):
    shutil.rmtree(corpus / "data_aishell/wav/train/S0003")
    (corpus / "data_aishell/wav/test/S0764/BAC009S0764W0121.wav").unlink()
    prepare(corpus)
    assert excluded(corpus) == [
        ("-", "BAC009S0003W0121", "transcript without audio"),
        ("-", "BAC009S0003W0122", "transcript without audio"),
        ("-", "BAC009S0764W0121", "transcript without audio"),
    ]
    assert "train: 2 of 4 utterances, 1 of 2 speakers, 8 of 16 characters" in caplog.text
    assert "test: 1 of 2 utterances, 4 of 8 characters" in caplog.text
    assert "3 transcripts without a recording, of S0003 (2), S0764" in caplog.text


def test_strict_stops_and_writes_nothing(corpus):
    name = "BAC009S0764W0121"
    edit(transcripts(corpus), lambda text: text.replace(f"{name} 今天", name))
    with pytest.raises(GmotError, match="test: 6 of 8 characters.*without --strict"):
        prepare(corpus, strict=True)
    assert not (corpus.parent / "manifests").exists()
    prepare(corpus)


@pytest.mark.parametrize("form", ["ＡＢ c", "ab　Ｃ"])
def test_full_width_and_lower_case_forms_are_one_text(corpus, form):
    edit(transcripts(corpus), lambda text: text.replace("W0121 今天 天气", f"W0121 今天 {form}"))
    parts = prepare(corpus, normalize_command="python local/normalize_text.py")
    assert parts[0].supervisions["BAC009S0002W0121"].text.replace(" ", "") == "今天ABC"


def test_an_empty_transcript_is_excluded(corpus):
    edit(transcripts(corpus), lambda text: text.replace("S0724W0121 今天 天气", "S0724W0121"))
    prepare(corpus)
    assert excluded(corpus) == [("dev", "BAC009S0724W0121", "empty transcript")]


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda c: edit(transcripts(c), lambda t: t + t.splitlines(True)[3]),
            "1 ids occur more than once: BAC009S0003W0122",
        ),
        (
            lambda c: edit(transcripts(c), lambda t: t.replace("S0764W", "S0999W")),
            "part 'test': none of its 2 recordings has a transcript.*BAC009S0764W0121",
        ),
        (lambda c: edit(transcripts(c), lambda t: t[:60] + "\n\n" + t[60:]), "line . is blank"),
        (lambda c: transcripts(c).unlink(), "transcripts.*is not there"),
        (lambda c: transcripts(c).write_text(""), "transcripts.*is empty"),
        (lambda c: transcripts(c).write_bytes("S1 今天".encode("gb18030")), "not UTF-8"),
        (
            lambda c: shutil.rmtree(c / "data_aishell/wav/dev"),
            "part 'dev': no recordings .*wav/dev",
        ),
        (
            lambda c: shutil.copy(
                c / "data_aishell/wav/train/S0002/BAC009S0002W0121.wav",
                c / "data_aishell/wav/test/S0764",
            ),
            "two recordings of the name 'BAC009S0002W0121': .*train.* and .*test",
        ),
        (
            lambda c: (c / "data_aishell/wav/dev/S0724/BAC009S0724W0122.wav").write_bytes(b"no"),
            "1 recordings cannot be read: unreadable audio: .*BAC009S0724W0122.wav",
        ),
        (
            lambda c: soundfile.write(
                c / "data_aishell/wav/dev/S0724/BAC009S0724W0122.wav", tone(0), 16000
            ),
            "1 recordings cannot be read: no samples in .*BAC009S0724W0122.wav",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(corpus, damage, message):
    damage(corpus)
    with pytest.raises(GmotError, match=message):
        prepare(corpus)
    assert not (corpus.parent / "manifests").exists()


def test_kaldi_folders_have_inventories_too(tmp_path, corpus, caplog):
    """Audio and transcripts are named by the inventory, whatever reads them."""
    inventory = yaml.safe_load((tmp_path / "inventory.yaml").read_text())
    for part in PARTS:
        folder = corpus / part
        folder.mkdir()
        wavs = sorted((corpus / f"data_aishell/wav/{part}").rglob("*.wav"))
        (folder / "wav.scp").write_text("".join(f"{w.stem} {w}\n" for w in wavs))
        shutil.copy(transcripts(corpus), folder / "text")
    edit(corpus / "dev/text", lambda text: text.replace("BAC009S0724W0121 今天 天气\n", ""))
    inventory["parts"] = {"dev": {"utterances": 2}}
    (tmp_path / "inventory.yaml").write_text(yaml.safe_dump(inventory))
    prepare(corpus, recipe=None)
    assert "dev: 1 of 2 utterances" in caplog.text


@pytest.mark.parametrize(
    "change, message",
    [
        ({"transcripts": None}, "not an inventory of a corpus"),
        ({"parts": {"train": {"utterances": "many"}}}, "not an inventory"),
        ({"parts": ["train"]}, "not an inventory"),
        ({"speaker": "["}, "not an inventory"),
        ({"partz": {}}, "unknown keys partz"),
    ],
)
def test_a_broken_inventory_is_an_error(tmp_path, change, message):
    content = {k: v for k, v in {**INVENTORY, **change}.items() if v is not None}
    (tmp_path / "i.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(GmotError, match=message):
        Inventory.load(tmp_path / "i.yaml")
