"""egs/aishell from its two archives to error rates, on a generated tree of the same form.

The speech is real if GMOT_REAL_SPEECH names a sample, else the smallest mini corpus.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_bert import save_small_bert

from gmot.common import read_json
from gmot.data.manifests import load_supervisions
from gmot.decode.methods import METHODS

pytestmark = pytest.mark.recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "egs" / "aishell"
HAS_K2 = importlib.util.find_spec("k2") is not None
WITHOUT_K2 = ("ctc-greedy-search", "ctc-prefix-beam-search")
EXPECTED = [method for method in METHODS if HAS_K2 or method in WITHOUT_K2]
NAME = "gm_ot_setting5_alpha0.03_num_epochs2"


def run_quietly(*command) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done


def make_archives(folder: Path) -> Path:
    """The archives of a generated AISHELL-1, 36 utterances or 24."""
    output = folder / "archives"
    sample = os.environ.get("GMOT_REAL_SPEECH")
    if sample:
        source = ["--sample", sample, "--num-utterances", "24", "6", "6"]
    else:
        unpack = ROOT / "egs" / "mini" / "local" / "unpack_speech.py"
        run_quietly(sys.executable, unpack, "--size", "tiny", "--output-dir", folder / "mini")
        source = ["--kaldi-dir", folder / "mini", "--only-chinese", "false"]
    make_tree = ROOT / "tests" / "aishell" / "make_tree.py"
    run_quietly(sys.executable, make_tree, *source, "--output", output, "--archives")
    return output


def make_teacher(folder: Path) -> Path:
    """A WordPiece BERT with a head for masked language modelling; its weights are random."""
    # The common characters, as in bert-base-chinese: GB 2312's first level.
    codes = [bytes([a, b]) for a in range(0xB0, 0xD8) for b in range(0xA1, 0xFF)]
    pieces = [c for c in (code.decode("gb2312", "ignore") for code in codes) if c]
    return save_small_bert(folder, pieces, "BertForPreTraining")


class Run:
    """``egs/aishell/run.sh`` as in the README, with folders of the test's own."""

    def __init__(self, folder: Path):
        self.data, self.exp = folder / "data", folder / "exp"
        self.archives, self.teacher = make_archives(folder), make_teacher(folder / "teacher")

    def __call__(self, *options) -> str:
        return run_quietly(
            *("bash", RECIPE / "run.sh", "--corpus-dir", self.archives, "--venv", "none"),
            *("--config", "conf/gm_ot_setting5.yaml", "--model", "tiny"),
            *("--transfer.alpha", "0.03", "--training.num_epochs", "2"),
            *("--data-dir", self.data, "--exp-dir", self.exp),
            *("--lexicon", "resource_aishell/lexicon.txt"),
            *("--teacher", self.teacher, "--teacher-layer", "1"),
            # A model of two epochs is undecided: with wide beams its lattices fill gigabytes.
            *("--decoding.num_paths", "10", "--decoding.output_beam", "2"),
            *("--decoding.max_active_states", "100"),
            *options,
        ).stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run once, by every method."""
    run = Run(tmp_path_factory.mktemp("aishell"))
    run.printed = run("--decoding.methods", "all")
    return run


def test_from_archives_to_error_rates(run):
    assert str(run.archives / "md5sum.txt") in run.printed  # not the official checksums
    assert "120,098" in run.printed and "104,765" in run.printed  # the published size
    texts = {
        split: load_supervisions(run.data / "manifests", "aishell", split)
        for split in ("train", "dev", "test")
    }
    assert texts["train"][0][0].startswith("BAC009S0002W")
    records = read_json(run.exp / "tiny" / NAME / "results.json")
    found = {(r["split"], r["method"]): r for r in records}
    assert set(found) == {(split, method) for split in ("dev", "test") for method in EXPECTED}
    for (split, _), record in found.items():
        score = record["scores"]["CER"]
        low, high = score["intervals"]["utterance"]
        assert score["num_utterances"] == len(texts[split])
        assert score["ref_len"] == sum(len(text.replace(" ", "")) for _, text in texts[split])
        assert low <= score["rate"] <= high
        assert (record["epoch"], record["avg"]) == (2, 2)
    if "nbest-oracle" in EXPECTED:
        for split in ("dev", "test"):
            oracle, best = (
                found[split, method]["scores"]["CER"]["rate"]
                for method in ("nbest-oracle", "nbest")
            )
            assert oracle <= best
    table = (run.exp / "tiny" / "RESULTS.md").read_text(encoding="utf-8")
    assert all(method in table for method in EXPECTED)


def test_a_second_run_repeats_nothing(run):
    printed = run("--decoding.methods", "all")
    stages = [line for line in printed.splitlines() if "Stage " in line]
    assert len(stages) == 13
    assert sum("up to date" in line for line in stages) == 13 - (not HAS_K2)


def test_with_acoustic_pretraining(run):
    """The baseline first, and the experiment from the mean of its epochs."""
    import torch

    run("--pretrain", "--decoding.methods", "ctc-greedy-search", "--training.base_lr", "0")
    exp = run.exp / "tiny"
    average = torch.load(exp / "baseline_num_epochs2_base_lr0" / "average.pt")["model"]
    name = f"{NAME}_base_lr0-pretrained"
    started = torch.load(exp / name / "epoch-1.pt")["model"]
    assert all(torch.equal(started[key], value) for key, value in average.items())
    table = (exp / "RESULTS.md").read_text(encoding="utf-8")
    assert "baseline_num_epochs2_base_lr0" in table and name in table
