"""Fifty recordings of a real speaker through every stage, as any Kaldi-style folder goes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_bert import save_small_bert

from gmot.common import read_json
from gmot.data.manifests import load_supervisions

pytestmark = pytest.mark.recipe

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / "shared" / "data" / "aishell_sample"
HAS_K2 = importlib.util.find_spec("k2") is not None
PARTS = {"train": slice(0, 40), "dev": slice(40, 45), "test": slice(45, 50)}


def small_bert(folder: Path, texts) -> Path:
    """A WordPiece teacher with the characters of the texts; its weights are random."""
    characters = sorted({c for text in texts for c in text.lower() if not c.isspace()})
    return save_small_bert(folder, characters + [f"##{c}" for c in characters if c.isascii()])


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of real speech is not here")
def test_real_speech_needs_no_special_case(tmp_path):
    lines = (SAMPLE / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    # Some of the utterances with digits or Latin letters, and others.
    foreign = [row for row in rows if any(c.isascii() and c.isalnum() for c in row[1])]
    plain = [row for row in rows if row not in foreign]
    chosen = plain[:36] + foreign[:4] + plain[36:46]
    assert len(chosen) == 50
    for part, which in PARTS.items():
        folder = tmp_path / "corpus" / part
        folder.mkdir(parents=True)
        for name, line in (
            ("wav.scp", lambda r: f"{r[0]} {SAMPLE / r[0]}.flac"),
            ("text", lambda r: f"{r[0]} {r[1]}"),
        ):
            text = "".join(line(row) + "\n" for row in chosen[which])
            (folder / name).write_text(text, encoding="utf-8")
    teacher = small_bert(tmp_path / "teacher", [row[1] for row in chosen])

    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "corpus.sh").write_text(
        f"corpus=real\ncorpus_dir={tmp_path / 'corpus'}\nteacher={teacher}\nteacher_layer=1\n"
    )
    (recipe / "run.sh").write_text(f'recipe={recipe}\n. {ROOT}/shared/run.sh "$@"\n')
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [
            *("bash", str(recipe / "run.sh"), "--venv", "none"),
            *("--conf-dir", str(ROOT / "egs/mini/conf")),
            *("--train-options", "--num-epochs 1"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    texts = load_supervisions(recipe / "data" / "manifests", "real", "train")
    assert len(texts) == 40
    report = json.dumps(read_json(recipe / "data" / "lang" / "report.json"), ensure_ascii=False)
    assert '"digits_or_latin": 4' in report.replace("utterances_with_", ""), report
    methods = {"ctc-greedy-search"} | ({"ctc-decoding", "1best"} if HAS_K2 else set())
    for system in ("ctc", "gm_ot"):
        records = read_json(recipe / "exp" / system / "results.json")
        assert {(r["part"], r["method"]) for r in records} == {
            (part, method) for part in ("dev", "test") for method in methods
        }
        assert all(r["num_utterances"] == 5 and r["ref_len"] > 20 for r in records)
