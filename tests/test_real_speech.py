"""Fifty recordings of a real speaker through every stage, like any Kaldi-style folder."""

import importlib.util
import os
from pathlib import Path

import pytest
from small_bert import save_small_bert

from gmot.common import read_json
from gmot.data.manifests import load_supervisions

SAMPLE = os.environ.get("GMOT_REAL_SPEECH", "")  # folder of transcripts.tsv and <id>.flac
pytestmark = [
    pytest.mark.recipe,
    pytest.mark.skipif(not SAMPLE, reason="GMOT_REAL_SPEECH names no sample of real speech"),
]

ROOT = Path(__file__).resolve().parents[1]
HAS_K2 = importlib.util.find_spec("k2") is not None
SPLITS = {"train": slice(0, 40), "dev": slice(40, 45), "test": slice(45, 50)}


def test_real_speech_needs_no_special_case(tmp_path, run_script):
    sample = Path(SAMPLE).absolute()
    lines = (sample / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    # Some of the utterances with digits or Latin letters, and others.
    foreign = [row for row in rows if any(c.isascii() and c.isalnum() for c in row[1])]
    plain = [row for row in rows if row not in foreign]
    chosen = plain[:36] + foreign[:4] + plain[36:46]
    assert len(chosen) == 50
    for split, which in SPLITS.items():
        folder = tmp_path / "corpus" / split
        folder.mkdir(parents=True)
        for name, line in (("wav.scp", "{0} {1}/{0}.flac\n"), ("text", "{0} {2}\n")):
            text = "".join(line.format(row[0], sample, row[1]) for row in chosen[which])
            (folder / name).write_text(text, encoding="utf-8")
    characters = sorted({c for row in chosen for c in row[1].lower() if not c.isspace()})
    pieces = characters + [f"##{c}" for c in characters if c.isascii()]
    teacher = ["--teacher", save_small_bert(tmp_path / "bert", pieces)]

    def run(name, *arguments):
        done = run_script(name, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    prefix, splits = ["--prefix", "real"], ["--splits", *SPLITS]
    manifests, fbank, lang = ["--manifest-dir", "m"], ["--fbank-dir", "f"], ["--lang-dir", "lang"]
    run("prepare_manifests", *prefix, *splits, *manifests, "--corpus-dir", "corpus")
    run("compute_fbank", *prefix, *splits, *manifests, *fbank, "--speed-perturb", "0.9", "1.1")
    run("validate_manifests", *prefix, *splits, *fbank, "--expect", "train=40", "--strict", "true")
    others = ["--other-splits", "dev", "test"]
    run("prepare_lang", *prefix, *manifests, *lang, *teacher, *others)
    store = ["--store", "store", "--layer", "1"]
    run("compute_teacher", *prefix, *manifests, *lang, *teacher, *store)
    methods = {"ctc-greedy-search"}
    graphs = []
    if HAS_K2:
        methods |= {"ctc-decoding", "1best"}
        graphs = ["--graph-dir", "graphs"]
        run("make_ngram", *lang, "--output", "G.arpa")
        run("compile_graphs", *lang, *graphs, "--arpa", "G.arpa")

    assert len(load_supervisions(tmp_path / "m", "real", "train")) == 40
    report = read_json(tmp_path / "lang" / "report.json")["splits"]
    assert report["train"]["utterances_with_digits_or_latin"] == 4
    for config in ("ctc", "gm_ot"):
        common = ["--exp-dir", config, *prefix, *fbank, *lang, *teacher]
        configs = [ROOT / "shared/conf/tiny.yaml", ROOT / f"egs/mini/conf/{config}.yaml"]
        options = [x for path in configs for x in ("--config", path)]
        options += ["--training.num_epochs", 1, "--teacher-store", "store"]
        run("train", *common, *options)
        decoding = ["--decoding.methods", *sorted(methods)]
        run("decode", *common, *graphs, "--splits", "dev", "test", *decoding)
        records = read_json(tmp_path / config / "results.json")
        assert {(r["split"], r["method"]) for r in records} == {
            (split, method) for split in ("dev", "test") for method in methods
        }
        scores = [record["scores"]["CER"] for record in records]
        assert all(s["num_utterances"] == 5 and s["ref_len"] > 20 for s in scores)
