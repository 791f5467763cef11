"""The scripts from transcripts to graphs, as a user runs them, on good and on bad input."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_bert import save_small_bert

from gmot.decode.k2_import import k2_available
from gmot.text.arpa import read_arpa
from gmot.text.tokens import TokenTable, WordTable

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
GZ = "toy_supervisions_train.jsonl.gz"
TEXTS = {
    "train": ["今天天气很好", "我们学习中文", "今天学习很好", "天气很好"] * 3,
    "dev": ["明天天气好", "GMOT很好"],
}


def run(script, *arguments, **options):
    """(status, standard output, standard error) of a script, started from another folder."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "local" / script), *map(str, arguments)],
        cwd=options.pop("cwd", "/"),
        capture_output=True,
        timeout=120,
        **options,
    )
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def refused(outcome, expected=1):
    """The one-line error of a script that gave up as it should; status 2 is that of options."""
    status, _, err = outcome
    assert status == expected, err
    assert "Traceback" not in err
    return err.splitlines()[-1]


def write_manifests(folder, texts):
    folder.mkdir(exist_ok=True)
    for part, lines in texts.items():
        with gzip.open(folder / f"toy_supervisions_{part}.jsonl.gz", "wt", encoding="utf-8") as f:
            for i, text in enumerate(lines):
                f.write(json.dumps({"id": f"{part}{i}", "recording_id": "r", "text": text}) + "\n")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A character WordPiece tokenizer that lacks one character of dev."""
    pytest.importorskip("transformers")
    characters = sorted(set("".join(TEXTS["train"])) | set("gmot") | {"##m", "##o", "##t"})
    return save_small_bert(tmp_path_factory.mktemp("teacher"), characters)


def prepare_lang(folder, teacher, *more):
    return run(
        "prepare_lang.py",
        *("--manifest-dir", folder / "manifests", "--prefix", "toy", "--other-splits", "dev"),
        *("--teacher", teacher, "--lang-dir", folder / "lang", *more),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory, teacher):
    """A folder with manifests, lang and a language model."""
    folder = tmp_path_factory.mktemp("data")
    write_manifests(folder / "manifests", TEXTS)
    status, _, err = prepare_lang(folder, teacher)
    assert status == 0, err
    status, _, log = run(
        "make_ngram.py", "--lang-dir", folder / "lang", "--output", folder / "lm/G.arpa"
    )
    assert status == 0, log
    return folder, err, log


def test_lang_folder(made):
    folder, log, _ = made
    tokens = TokenTable.load(folder / "lang/tokens.txt")
    assert set(tokens.symbols) == {"<blk>", "<unk>"} | set("".join(TEXTS["train"]))
    words = WordTable.load(folder / "lang/words.txt")
    text = (folder / "lang/text").read_text(encoding="utf-8").splitlines()
    assert [line.replace(" ", "") for line in text] == TEXTS["train"]
    assert all(word in words for line in text for word in line.split())
    lexicon = (folder / "lang/lexicon.txt").read_text(encoding="utf-8").splitlines()
    assert {line.split()[0] for line in lexicon} == set(words.words)
    assert {"今 今", "<unk> <unk>"} <= set(lexicon)
    dev = json.loads((folder / "lang/report.json").read_text(encoding="utf-8"))["splits"]["dev"]
    assert dev["oov"] == {"▁G": 1, "M": 1, "O": 1, "T": 1}
    assert dev["lacking_in_teacher"] == {"明": 1}
    assert dev["utterances_with_digits_or_latin"] == 1
    assert "dev: 2 utterances" in log and f"{len(tokens)} tokens" in log


def test_units_are_an_option(made, tmp_path, teacher):
    """Characters and byte-pair encoding need no teacher; the encoding is that of a model to start
    from."""
    write_manifests(tmp_path / "manifests", {"train": ["the thin thing", "then"] * 3, "dev": []})
    options = ("--manifest-dir", tmp_path / "manifests", "--prefix", "toy", "--lang-dir")
    folders = {}
    for units in ("characters", "bpe"):
        folders[units] = tmp_path / units
        status, _, log = run("prepare_lang.py", *options, tmp_path / units, "--units", units)
        assert status == 0 and units in log, log
    tokens = {name: TokenTable.load(path / "tokens.txt") for name, path in folders.items()}
    assert {"▁t", *"heing"} < set(tokens["characters"].symbols)
    assert "▁then" in tokens["bpe"] and (folders["bpe"] / "bpe.json").is_file()
    lines = (folders["bpe"] / "lexicon.txt").read_text(encoding="utf-8").splitlines()
    assert {"then ▁then"} < set(lines) and "t" not in {line.split()[0] for line in lines}
    status, _, log = run(
        "prepare_lang.py",
        *(*options, tmp_path / "more", "--units", "bpe", "--vocab-size", 12),
        *("--init-lang-dir", folders["bpe"]),
    )
    assert status == 0, log
    assert (tmp_path / "more/units.json").read_text() == (folders["bpe"] / "units.json").read_text()
    outcome = run("prepare_lang.py", *options, tmp_path / "x", "--units", "bpe", "--vocab-size", 4)
    assert "--vocab-size 4" in refused(outcome)
    assert "--teacher" in refused(run("prepare_lang.py", *options, tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_language_model(made):
    folder, _, log = made
    model = read_arpa(folder / "lm/G.arpa")
    assert model.order == 3
    words = WordTable.load(folder / "lang/words.txt").words
    assert {word for (word,) in model.tables[0]} == {*words, "<s>", "</s>"}
    assert " + ".join(map(str, model.counts())) in log and "perplexity" in log


def test_order_is_an_option(made, tmp_path):
    folder = made[0]
    arguments = ("--lang-dir", folder / "lang", "--output", tmp_path / "G.arpa", "--order")
    assert run("make_ngram.py", *arguments, 1)[0] == 0
    assert read_arpa(tmp_path / "G.arpa").order == 1
    assert "order" in refused(run("make_ngram.py", *arguments, 0), 2)


def test_more_text_is_an_option(made, tmp_path):
    folder = made[0]
    more = [tmp_path / "a.txt", tmp_path / "b.txt"]
    more[0].write_text("今天，我们很好。\n明明明明\n", encoding="utf-8")
    more[1].write_text("\n中文天气\n", encoding="utf-8")
    arguments = ("--lang-dir", folder / "lang", "--output", tmp_path / "G.arpa", "--text", *more)
    status, _, log = run("make_ngram.py", *arguments, "--order", 4)
    assert status == 0, log
    model = read_arpa(tmp_path / "G.arpa")
    assert model.order == 4 and ("中文", "天气") in model.tables[1]
    for path, empty, dropped in ((more[0], 0, 1), (more[1], 1, 0)):
        (line,) = [line for line in log.splitlines() if f"{path}: dropped" in line]
        assert f" {empty} empty" in line and f" {dropped} sentences" in line
    assert "text: 12 sentences" in log and "b.txt: 1 sentences, 2 words, 0 unknown" in log
    assert GZ in refused(run("make_ngram.py", *arguments, folder / "manifests/" / GZ))


def test_words_of_a_pronunciation_lexicon_are_added(made, tmp_path, teacher):
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("SIL sil\n天很 t ian1\n今天 j in1\n天很 t ian2\n明天 m ing2\n")
    status, _, log = prepare_lang(
        made[0], teacher, "--lang-dir", tmp_path / "lang", "--lexicon", lexicon
    )
    assert status == 0, log
    words = WordTable.load(tmp_path / "lang/words.txt")
    assert "天很" in words and "明天" not in words
    report = json.loads((tmp_path / "lang/report.json").read_text(encoding="utf-8"))
    assert report["lexicon"] == {
        "words": 3,
        "repeated": 1,
        "no_words": ["SIL"],
        "with_unknown_tokens": ["明天"],
    }
    assert "(明天)" in log
    tokens = (made[0] / "lang/tokens.txt").read_bytes()
    assert (tmp_path / "lang/tokens.txt").read_bytes() == tokens
    lexicon.write_text("天很\n")
    outcome = prepare_lang(made[0], teacher, "--lang-dir", tmp_path / "x", "--lexicon", lexicon)
    assert "line 1" in refused(outcome)
    assert not (tmp_path / "x").exists()


def test_tokens_of_a_model_to_start_from_are_kept(made, tmp_path, teacher):
    write_manifests(tmp_path / "manifests", {"train": ["今天"], "dev": ["明天"]})
    options = ("--init-lang-dir", made[0] / "lang")
    status, _, log = prepare_lang(tmp_path, teacher, *options)
    assert status == 0, log
    before = TokenTable.load(made[0] / "lang/tokens.txt")
    assert TokenTable.load(tmp_path / "lang/tokens.txt").symbols == before.symbols
    assert f"{len(before)} tokens" in log
    assert "tokens.txt" in refused(
        prepare_lang(tmp_path, teacher, "--init-lang-dir", tmp_path / "none")
    )


def test_lang_of_empty_or_missing_transcripts_is_refused(tmp_path, teacher):
    write_manifests(tmp_path / "manifests", {"train": ["", " "], "dev": ["好"]})
    assert "'train'" in refused(prepare_lang(tmp_path, teacher))
    assert "toy_supervisions_other" in refused(
        prepare_lang(tmp_path, teacher, "--train-split", "other")
    )
    assert not (tmp_path / "lang").exists()


def test_lang_without_a_teacher_is_refused(tmp_path):
    write_manifests(tmp_path / "manifests", TEXTS)
    assert "no-teacher" in refused(prepare_lang(tmp_path, tmp_path / "no-teacher"))


def test_language_model_of_nothing_is_refused(tmp_path):
    arguments = ("--lang-dir", tmp_path, "--output", tmp_path / "G.arpa")
    assert "words.txt" in refused(run("make_ngram.py", *arguments))
    WordTable.from_words(["好"]).save(tmp_path / "words.txt")
    (tmp_path / "text").write_text("\n\n")
    assert "text" in refused(run("make_ngram.py", *arguments))
    assert not (tmp_path / "G.arpa").exists()


def test_graphs(made, tmp_path):
    pytest.importorskip("k2")
    lang = made[0] / "lang"
    arguments = ("--lang-dir", lang, "--graph-dir", tmp_path / "graphs", "--arpa")
    status, _, log = run("compile_graphs.py", *arguments, made[0] / "lm/G.arpa")
    assert status == 0, log
    assert sorted(p.name for p in (tmp_path / "graphs").iterdir()) == ["G.pt", "H.pt", "HLG.pt"]
    assert "arcs" in log
    for name in ("H", "HLG", "G"):
        assert f"graphs/{name}.pt: " in log
    assert "300" in refused(
        run("compile_graphs.py", *arguments, made[0] / "lm/G.arpa", "--max-arcs", 300)
    )
    assert "none.arpa" in refused(run("compile_graphs.py", *arguments, tmp_path / "none.arpa"))
    (tmp_path / "bad.arpa").write_text("no model")
    assert "bad.arpa" in refused(run("compile_graphs.py", *arguments, tmp_path / "bad.arpa"))


@pytest.mark.skipif(k2_available(), reason="k2 is installed")
def test_graphs_without_k2_are_refused_clearly(made, tmp_path):
    outcome = run(
        "compile_graphs.py",
        *("--lang-dir", made[0] / "lang", "--graph-dir", tmp_path / "graphs"),
        *("--arpa", made[0] / "lm/G.arpa"),
    )
    assert "k2" in refused(outcome)
    assert not (tmp_path / "graphs").exists()
