"""A table of English speech becomes a recipe, which runs from its audio to results."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio import tone
from small_bert import save_small_bert

pytestmark = pytest.mark.recipe

ROOT = Path(__file__).resolve().parents[1]
HAS_K2 = importlib.util.find_spec("k2") is not None
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
WORDS = ["The", "cat", "saw", "a", "dog", "in", "our", "house", "it's", "big"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of 48 kHz, some stereo, one broken, and their table; a teacher."""
    folder = tmp_path_factory.mktemp("own corpus")  # with a space
    (folder / "clips").mkdir()
    generator = np.random.default_rng(0)
    rows = ["client_id\tpath\tsentence"]
    for i in range(24):
        samples = tone(1.5, 300 + 20 * i, 48000, i)
        if i % 5 == 0:
            samples = np.stack([samples, samples], axis=1)
        soundfile.write(folder / "clips" / f"c{i:02d}.flac", samples, 48000)
        words = generator.choice(WORDS, 4)
        rows.append(f'sp{i % 6}\tc{i:02d}.flac\t{" ".join(words)}, "said" he.')
    (folder / "clips" / "c07.flac").write_bytes(b"no audio")
    (folder / "validated.tsv").write_text("\n".join(rows) + "\n")
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS), "cat", "##og", "said"]
    save_small_bert(folder / "bert", pieces)
    return folder


def run(*command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd="/",
        env={**os.environ, "PATH": path},
    )


def test_from_a_table_to_results(folder):
    made = run(
        *(sys.executable, ROOT / "local/new_corpus.py", "own"),
        *("--table", folder / "validated.tsv", "--teacher", folder / "bert"),
        *("--output", folder / "recipe"),
    )
    assert made.returncode == 0, made.stderr
    assert "dev: taken from train, 1 of" in made.stdout
    assert "excluded: 1 unreadable audio (c07)" in made.stdout
    command = [
        *("bash", folder / "recipe/run.sh", "--venv", "none", "--model", "tiny", "--avg", "1"),
        *("--training.num_epochs", "1"),
    ]
    done = run(*command)
    assert done.returncode == 0, done.stderr[-4000:]
    manifests = folder / "recipe/data/manifests"
    assert (manifests / "own_supervisions_dev.jsonl.gz").is_file()
    for name in ("ctc_num_epochs1", "gm_ot_num_epochs1"):
        records = json.loads((folder / "recipe/exp/tiny" / name / "results.json").read_text())
        methods = {r["method"] for r in records}
        assert methods == {"ctc-greedy-search"} | ({"ctc-decoding", "1best"} if HAS_K2 else set())
        assert {r["split"] for r in records} == {"dev", "test"}
    table = (folder / "recipe/exp/tiny/RESULTS.md").read_text()
    assert "WER" in table and "CER" in table

    again = run(*command)
    stages = [line for line in again.stderr.splitlines() if "Stage" in line]
    done_again = [line for line in stages if "up to date" not in line and "left out" not in line]
    assert again.returncode == 0 and not done_again
