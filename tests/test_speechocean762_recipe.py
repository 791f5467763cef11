"""egs/speechocean762 on some of its speakers, if GMOT_SPEECHOCEAN762 names the unpacked corpus."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from egs_tables import table
from small_bert import save_small_bert

from gmot.common import read_json

CORPUS = os.environ.get("GMOT_SPEECHOCEAN762", "")  # has WAVE/, train/ and test/
pytestmark = [
    pytest.mark.recipe,
    pytest.mark.skipif(not CORPUS, reason="GMOT_SPEECHOCEAN762 names no corpus"),
]

ROOT = Path(__file__).resolve().parents[1]
HAS_K2 = importlib.util.find_spec("k2") is not None
METHODS = {"ctc-greedy-search"} | ({"1best", "whole-lattice-rescoring"} if HAS_K2 else set())
NUM_SPEAKERS = {"train": 8, "test": 4}
NUM_UTTERANCES = 5  # of a speaker


def read_tabs(path: Path) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in path.read_text().splitlines())


def make_part(corpus: Path, folder: Path) -> None:
    """Children and adults of the corpus, the first utterances of each."""
    for split, number in NUM_SPEAKERS.items():
        names = ("wav.scp", "text", "utt2spk", "spk2age")
        tables = {n: read_tabs(corpus / split / n) for n in names}
        ages = {s: int(age) for s, age in tables["spk2age"].items()}
        chosen = []
        for adult in (False, True):
            speakers = sorted(s for s in ages if (ages[s] >= 16) == adult)
            chosen += speakers[: number // 2]
        used = []
        for speaker in chosen:
            mine = sorted(u for u, s in tables["utt2spk"].items() if s == speaker)
            used += mine[:NUM_UTTERANCES]
        (folder / split).mkdir(parents=True)
        for name, rows in tables.items():
            keys = chosen if name == "spk2age" else used
            lines = "".join(f"{key}\t{rows[key]}\n" for key in keys)
            (folder / split / name).write_text(lines)
        for utterance in used:
            path = tables["wav.scp"][utterance]
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(corpus / path, folder / path)


def test_from_the_corpus_to_error_rates_of_children_and_adults(tmp_path):
    make_part(Path(CORPUS).absolute(), tmp_path / "corpus")
    letters = [*"abcdefghijklmnopqrstuvwxyz'"]
    teacher = save_small_bert(tmp_path / "bert", [*letters, *(f"##{c}" for c in letters)])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [
            *("bash", str(ROOT / "egs/speechocean762/run.sh"), "--venv", "none"),
            *("--corpus-dir", "corpus", "--data-dir", "data", "--exp-dir", "exp"),
            *("--teacher", str(teacher), "--teacher-layer", "1", "--vocab-size", "60"),
            *("--model", "tiny", "--training.num_epochs", "1"),
            *("--decoding.max_active_states", "100", "--decoding.output_beam", "2"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    groups = table(tmp_path / "data" / "corpus" / "groups")
    assert sorted(groups.values()) == ["adult"] * 6 + ["child"] * 6
    for name in ("ctc_num_epochs1", "gm_ot_num_epochs1"):
        records = read_json(tmp_path / "exp" / "tiny" / name / "results.json")
        found = {(r["split"], r["method"]) for r in records}
        assert found == {(split, method) for split in ("dev", "test") for method in METHODS}
    table_ = (tmp_path / "exp" / "tiny" / "RESULTS.md").read_text(encoding="utf-8")
    assert all(word in table_ for word in ("WER", "CER", "adult", "child"))
