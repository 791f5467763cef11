"""Tables of audio files and transcripts: columns, quoting, ids, and where the audio is."""

import json

import pytest
import soundfile
from audio import tone

from gmot.common import GmotError
from gmot.data.manifests import load_supervisions, prepare_manifests
from gmot.data.table import read_table_splits


@pytest.fixture
def clips(tmp_path):
    """Folder with clips/{a,b,c}.wav."""
    (tmp_path / "clips").mkdir()
    for name in "abc":
        soundfile.write(tmp_path / "clips" / f"{name}.wav", tone(0.5), 16000)
    return tmp_path


def read(path, content, **options):
    path.write_text(content, encoding="utf-8")
    return read_table_splits([path], **options)


def texts(split):
    return {key: s.text for key, s in split.supervisions.items()}


def test_a_tsv_of_common_voice(clips):
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes\n"
    rows = 'x\ta.wav\t1\t"Hello," he said.\t2\ny\tb.wav\t2\t"Said ""so""."\t2\n'
    (split,) = read(clips / "validated.tsv", header + rows)
    assert split.name == "all"
    assert texts(split) == {"a": '"Hello," he said.', "b": 'Said "so".'}
    assert [s.speaker for s in split.supervisions.values()] == ["x", "y"]
    assert split.recordings["a"].sources[0].source == str(clips / "clips" / "a.wav")


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_a_csv_with_a_column_of_splits(clips, delimiter):
    lines = [
        ("File Name", "Transcript", "Subset", "utt_id"),
        ("clips/a.wav", '"one, two; three| ""four"""', "train", "u1"),
        ("clips/b.wav", "five", "dev", "u 2"),
    ]
    content = "".join(delimiter.join(line) + "\r\n" for line in lines)
    train, dev = read(clips / "all.csv", "\ufeff" + content)
    assert (train.name, dev.name) == ("train", "dev")
    assert texts(train) == {"u1": 'one, two; three| "four"'} and texts(dev) == {"u_2": "five"}


def test_json_lines_of_nemo_one_file_per_split(clips):
    for name, audio in (("train", "a"), ("test", "b")):
        record = {"audio_filepath": f"clips/{audio}.wav", "duration": 0.5, "text": f"text {audio}"}
        (clips / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
    splits = read_table_splits([clips / "train.jsonl", clips / "test.jsonl"])
    assert [(s.name, texts(s)) for s in splits] == [
        ("train", {"a": "text a"}),
        ("test", {"b": "text b"}),
    ]


def test_a_table_without_header_and_file_names_without_suffix(clips):
    """As the metadata.csv of LJ Speech."""
    columns = {"path": "1", "text": "3"}
    (split,) = read(clips / "metadata.csv", "a|No. 1|number one\nb|2|two\n", columns=columns)
    assert texts(split) == {"a": "number one", "b": "two"}
    with pytest.raises(GmotError, match="1 to 3"):
        read(clips / "metadata.csv", "a|No. 1|number one\n", columns={"path": "1", "text": "4"})


def test_named_columns_and_an_audio_folder(clips):
    columns = {"path": "Datei", "text": "Wortlaut"}
    content = "Datei\tWortlaut\ttext\na.wav\tgut\tno\n"
    table = clips / "sub" / "list.tsv"
    table.parent.mkdir()
    (split,) = read(table, content, columns=columns, audio_dir=clips / "clips")
    assert texts(split) == {"a": "gut"}


def test_ids_of_equal_file_names_have_their_folders(clips):
    for speaker in ("x", "y"):
        (clips / speaker / "s 1").mkdir(parents=True)
        soundfile.write(clips / speaker / "s 1" / "a.wav", tone(0.5), 16000)
    (split,) = read(clips / "t.tsv", "path\ttext\nx/s 1/a.wav\tone\ny/s 1/a.wav\ttwo\n")
    assert texts(split) == {"x-s_1-a": "one", "y-s_1-a": "two"}


def test_a_file_in_two_rows_is_one_recording(clips):
    (split,) = read(clips / "t.tsv", "path\ttext\na.wav\tone\na.wav\ttwo\n")
    assert texts(split) == {"a": "one", "a-2": "two"} and set(split.recordings) == {"a"}


def test_rows_that_cannot_be_used_are_excluded_with_their_lines(clips):
    rows = "".join(f"{name}.wav\ttext {name}\n" for name in "abc" * 4)
    (split,) = read(
        clips / "t.tsv", f"path\ttext\n{rows}\tno path\nx.wav\tgone\na.wav\ttwo\tmore\n"
    )
    reasons = dict(split.excluded)
    assert len(split.supervisions) == 12 and len(reasons) == 3
    assert "no audio file" in reasons["t.tsv:14"]
    assert "3 fields" in reasons["t.tsv:16"]
    assert "no such file" in reasons["x"]


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("t.tsv", "audio_url\twords\nx\ty\n", ["path", "text", "audio_url, words", "--columns"]),
        ("t.tsv", "path,text\na.wav,one\n", ["path,text", "--columns"]),
        ("t.csv", 'path,text\na.wav,"one\nb.wav,two\nc.wav,three\nd.wav,4\n', ["line 2", "quote"]),
        ("t.csv", 'path,text\na.wav,"one" two\n', ["line 2", "quote"]),
        ("t.csv", "path,text\na.wav,one, two\n", ["t.csv:2", "3 fields", "expected 2"]),
        ("t.csv", "path,text\n", ["no rows"]),
        ("t.jsonl", '{"path": "a.wav", "text": "x"}\n["b.wav", "y"]\n', ["line 2", "JSON object"]),
        ("t.xlsx", "x", [".csv, .tsv or .jsonl"]),
        ("t.csv", "", ["empty"]),
        ("t.csv", "id,path,text\nu,a.wav,one\nu,b.wav,two\n", ["u", "more than once"]),
    ],
)  # fmt: skip
def test_wrong_columns_and_quoting_are_one_message(clips, name, content, facts):
    with pytest.raises(GmotError) as error:
        read(clips / name, content)
    assert all(fact in str(error.value) for fact in facts), error.value


def test_another_encoding_is_named(clips):
    (clips / "t.tsv").write_bytes("path\ttext\na.wav\tschön\n".encode("latin-1"))
    with pytest.raises(GmotError, match=r"t\.tsv: not UTF-8"):
        read_table_splits([clips / "t.tsv"])


def test_manifests_of_a_table_by_lists_of_splits(clips):
    (clips / "t.tsv").write_text("path\ttext\n" + "".join(f"{n}.wav\t{n}\n" for n in "abc"))
    (clips / "splits").mkdir()
    (clips / "splits" / "train.txt").write_text("c\na\n")
    (clips / "splits" / "dev.txt").write_text("b\nghost\n")
    options = {"tables": [clips / "t.tsv"], "split_lists": clips / "splits", "normalizer": str}
    prepare_manifests(None, "toy", ["train", "dev"], clips / "m", **options)
    assert load_supervisions(clips / "m", "toy", "train") == [("c", "c"), ("a", "a")]
    assert load_supervisions(clips / "m", "toy", "dev") == [("b", "b")]
    assert (clips / "m" / "excluded.txt").read_text().startswith("dev\tghost\tlisted, but not in")

    (clips / "splits" / "dev.txt").write_text("b\na\n")
    with pytest.raises(GmotError, match=r"'dev'.*more than once: a"):
        prepare_manifests(None, "toy", ["train", "dev"], clips / "m", **options)
    with pytest.raises(GmotError, match=r"test\.txt"):
        prepare_manifests(None, "toy", ["train", "test"], clips / "m", **options)
