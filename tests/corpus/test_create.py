"""Recipes for corpora of all kinds: what is found, what is said, what is written."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from audio import tone

from gmot.common import GmotError
from gmot.corpus.create import create_recipe
from gmot.data.source import Source

pytestmark = pytest.mark.integration  # lhotse runs ldconfig on unreadable audio

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "by", "a", "river"]


class Corpus:
    """A table of English utterances, to be spoiled."""

    def __init__(self, folder: Path, count: int = 24, speakers: int = 6):
        self.folder = folder
        self.rows = {}
        (folder / "wav").mkdir(parents=True)
        for i in range(count):
            text = " ".join(WORDS[(i * k + k) % len(WORDS)] for k in range(1, 5))
            self.add(f"u{i:02d}", text, f"s{i % speakers}", "", tone(0.6, 200 + 9 * i, seed=i))

    def add(self, key, text, speaker="", split="", samples=None, rate=16000):
        self.rows[key] = [text, speaker, split]
        if samples is not None:
            soundfile.write(self.folder / "wav" / f"{key}.wav", samples, rate)

    def make(self, **options):
        rows = [f"wav/{key}.wav\t" + "\t".join(row) for key, row in self.rows.items()]
        table = self.folder / "corpus.tsv"
        table.write_text("\n".join(["path\ttext\tspeaker\tsplit", *rows]) + "\n", encoding="utf-8")
        source = Source(tables=[table], channel=0)
        return create_recipe("toy", source, self.folder / "recipe", **options)

    def listed(self, name):
        return (self.folder / "recipe" / "splits" / f"{name}.txt").read_text().split()


@pytest.fixture
def toy(tmp_path):
    return Corpus(tmp_path)


def to_look_at(report: str) -> str:
    return report.partition("## To look at")[2]


def test_a_good_corpus(toy):
    made = toy.make()
    assert made.folder == toy.folder / "recipe"
    assert (made.folder / "inspection.md").read_text() == made.report
    for fact in ("24 utterances", "16000 Hz (24)", "language: en", "units: characters"):
        assert fact in made.report
    assert {len(toy.listed(name)) for name in ("dev", "test")} == {4}
    model = yaml.safe_load((made.folder / "conf" / "model.yaml").read_text())
    assert model["model"]["num_layers"] == 4 and model["data"]["max_utterance"] is None
    decoding = yaml.safe_load((made.folder / "decoding.yaml").read_text())
    assert decoding["scoring"] == ["words", "characters"] and decoding["homophones"] is False
    prepare = (made.folder / "prepare.sh").read_text()
    assert f"--table {toy.folder}/corpus.tsv" in prepare and "normalize_english" in prepare
    with pytest.raises(GmotError, match=r"recipe exists.*--output"):
        toy.make()


def test_audio_of_all_kinds(toy):
    toy.add("gone", "the dog")
    toy.add("broken", "the dog")
    (toy.folder / "wav" / "broken.wav").write_bytes(b"no audio" * 99)
    toy.add("empty", "the dog", samples=np.zeros(0))
    toy.add("silent", "the dog", "s0", samples=np.zeros(8000))
    toy.add("low", "the dog", "s1", samples=tone(0.5, rate=8000), rate=8000)
    eight = np.stack([tone(0.5, 100 * i) for i in range(1, 9)], axis=1)
    toy.add("eight", "the dog", "s2", samples=eight, rate=48000)
    toy.add("copy", "the dog", "s3", samples=tone(0.6, 200, seed=0))  # of u00
    cut = toy.folder / "wav" / "u05.wav"
    cut.write_bytes(cut.read_bytes()[:2000])
    report = to_look_at(toy.make().report)
    for fact in (
        "1 no such file (gone)",
        "1 unreadable audio (broken)",
        "1 no samples (empty)",
        "resampled to 16000 Hz when loaded: files 48000 Hz (1), 8000 Hz (1)",
        "channel 0 is used of files with several: 8 (1)",
        "silent: 1 of",
        "copy = u00",
        "faster than speech: 1 utterances, characters per second: u05",  # its header is mended
    ):
        assert fact in report, report
    listed = {key for name in ("train", "dev", "test") for key in toy.listed(name)}
    assert {"low", "eight", "silent"} <= listed
    assert not {"gone", "broken", "empty", "copy"} & listed


def test_text_of_all_kinds(toy):
    toy.add("blank", "  ", samples=tone(0.4))
    toy.add("marks", "?!", samples=tone(0.41))
    toy.add("mixed", "the слово", "s0", samples=tone(0.42))
    toy.add("alike", "the d\u043eg", "s0", samples=tone(0.43))
    toy.add("nfc", "caf\u00e9", "s1", samples=tone(0.44))
    toy.add("nfd", unicodedata.normalize("NFD", "caf\u00e9"), "s2", samples=tone(0.45))
    toy.add("digits", "room 101", "s3", samples=tone(0.46))
    toy.add("fast", "the dog " * 20, "s4", samples=tone(0.47))
    report = to_look_at(toy.make(language="fr").report)
    for fact in (
        "2 empty transcript (blank, marks)",
        "mixed scripts: 2 transcripts",
        "d\u043eg (alike)",
        "NFC: 1 transcripts (nfd)",
        "two normal forms, one after normalisation: caf\u00e9",
        "digits: 1",
        "faster than speech: 1 utterances, characters per second: fast",
    ):
        assert fact in report, report


def test_characters_that_train_lacks_and_a_speaker_in_two_splits(toy):
    for i, row in enumerate(toy.rows.values()):
        row[2] = "test" if i < 4 else "train"
    toy.add("odd", "the señor", "s1", "test", tone(0.4, 90))
    toy.add("odd2", "the quick fox", "s1", "train", tone(0.4, 91))
    toy.add("odd3", "the quick fox", "s9", "test", tone(0.4, 92))
    report = toy.make(language="es").report
    assert "dev: taken from train, 1 of 6 speakers" in report
    report = to_look_at(report)
    for fact in (
        "characters of dev and test that train lacks",
        "1 (ñ 1)",
        "speakers in train and in test: ",
        "«the quick fox»",
    ):
        assert fact in report, report


def test_a_mandarin_corpus_is_scored_by_characters(tmp_path):
    corpus = Corpus(tmp_path, count=0)
    for i in range(8):
        corpus.add(f"u{i}", f"今天天气{'很好不热冷大小多'[i]} [noise]", samples=tone(0.4, 99 + i))
    made = corpus.make(teacher="some/model")
    decoding = yaml.safe_load((made.folder / "decoding.yaml").read_text())
    assert decoding["scoring"] == ["characters"] and decoding["homophones"] is True
    prepare = (made.folder / "prepare.sh").read_text()
    assert "normalize_text" in prepare and "teacher=some/model" in prepare
    assert "mixed" not in made.report


def test_kaldi_style_folders_with_and_without_splits(tmp_path):
    lines = {"wav.scp": "", "text": "", "utt2spk": ""}
    for i in range(12):
        path = tmp_path / "corpus" / "sub" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(0.4, 100 + i), 16000)
        lines["wav.scp"] += f"u{i} sub/{i}.wav\n"  # relative to the folder above, too
        lines["text"] += f"u{i} word {WORDS[i % 9]}\n"
        lines["utt2spk"] += f"u{i} s{i % 4}\n"
    for folder in (tmp_path / "corpus", tmp_path / "corpus" / "train"):
        folder.mkdir(exist_ok=True)
        for name, content in lines.items():
            (folder / name).write_text(content)
    source = Source(tmp_path / "corpus" / "train")
    whole = create_recipe("one", source, tmp_path / "r1")
    assert "the corpus, which has no splits" in whole.report
    with pytest.raises(GmotError, match=r"wav\.scp itself and in train"):
        create_recipe("two", Source(tmp_path / "corpus"), tmp_path / "r2")
    (tmp_path / "corpus" / "wav.scp").unlink()
    split = create_recipe("two", Source(tmp_path / "corpus"), tmp_path / "r2")
    assert "--source-splits train" in (split.folder / "prepare.sh").read_text()
    with pytest.raises(GmotError, match="is no folder"):
        create_recipe("three", Source(tmp_path / "nowhere"), tmp_path / "r3")


def test_a_recipe_of_lhotse(tmp_path):
    for i in range(60):
        name = "_".join(f"{i:08b}")
        soundfile.write(tmp_path / f"{name}.wav", tone(0.6, 200 + i, 8000), 8000)
    made = create_recipe("yn", Source(tmp_path, recipe="yesno"), tmp_path / "recipe")
    assert "lhotse's recipe 'yesno'" in made.report and "dev: taken from train" in made.report
    assert "8000 Hz" in to_look_at(made.report)
    prepare = (made.folder / "prepare.sh").read_text()
    assert "--recipe yesno" in prepare and f"--corpus-dir {tmp_path}" in prepare


@pytest.mark.parametrize("name", ["Toy", "my corpus", "../x", "1st", ""])
def test_a_bad_name_is_refused(tmp_path, name):
    with pytest.raises(GmotError, match="my_corpus"):
        create_recipe(name, Source(tmp_path), tmp_path / "recipe")


def test_nothing_usable_is_an_error_and_leaves_no_folder(toy):
    for path in (toy.folder / "wav").iterdir():
        path.unlink()
    with pytest.raises(GmotError, match="no utterance can be used: 24 no such file"):
        toy.make()
    assert not (toy.folder / "recipe").exists()


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ((), ["exactly one of --kaldi, --table and --lhotse"]),
        (("--kaldi", "x", "--table", "y"), ["--kaldi and --table"]),
        (("--lhotse", "yesno"), ["--corpus-dir"]),
        (("--kaldi", "nowhere"), ["nowhere", "wav.scp"]),
        (("--table", "nowhere.tsv"), ["nowhere.tsv", "not there"]),
        (("--table", "x.tsv", "--columns", "path"), ["--columns path", "NAME=VALUE"]),
        (("--lhotse", "nothing", "--corpus-dir", "/tmp"), ["no recipe 'nothing'"]),
        (("--kaldi", "/tmp", "--language", "English"), ["--language English"]),
    ],
)
def test_wrong_options_are_one_line(run_script, tmp_path, options, facts):
    result = run_script("new_corpus", "toy", "--output", "r", *options, cwd=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert all(fact in result.stderr for fact in facts), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
