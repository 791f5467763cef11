"""egs/aishell from its two archives to error rates, on a generated tree of the same form.

The speech is real where the sample of it is here, else the mini corpus' smallest.
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
SAMPLE = ROOT.parent / "shared" / "data" / "aishell_sample"
HAS_K2 = importlib.util.find_spec("k2") is not None
WITHOUT_K2 = ("ctc-greedy-search", "ctc-prefix-beam-search")
EXPECTED = [method for method in METHODS if HAS_K2 or method in WITHOUT_K2]


def bash(*command, **environment) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", *map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done


def make_archives(folder: Path) -> Path:
    """The archives of a generated AISHELL-1, 36 utterances or 24."""
    output = folder / "archives"
    if SAMPLE.is_dir():
        source = ["--sample", SAMPLE, "--num-utterances", "24", "6", "6"]
    else:
        mini = ROOT / "egs" / "mini" / "prepare.sh"
        bash(
            *(mini, "--size", "tiny", "--venv", "none", "--stop-stage", "0"),
            *("--data-dir", folder / "mini"),
            XDG_CACHE_HOME=str(folder / "cache"),
        )
        source = ["--kaldi-dir", folder / "mini" / "tiny" / "corpus", "--only-chinese", "false"]
    subprocess.run(
        [
            *(sys.executable, RECIPE / "local" / "make_tree.py", *source),
            *("--output", output, "--archives"),
        ],
        check=True,
        timeout=300,
    )
    return output


def make_teacher(folder: Path) -> Path:
    """A WordPiece BERT with a head for masked language modelling; its weights are random."""
    # The common characters, as in bert-base-chinese: GB 2312's first level.
    codes = [bytes([a, b]) for a in range(0xB0, 0xD8) for b in range(0xA1, 0xFF)]
    pieces = [c for c in (code.decode("gb2312", "ignore") for code in codes) if c]
    return save_small_bert(folder, pieces, "BertForPreTraining")


class Run:
    """``egs/aishell/run.sh`` as the README gives it, with folders of the test's own."""

    def __init__(self, folder: Path):
        self.data, self.exp = folder / "data", folder / "exp"
        self.archives, self.teacher = make_archives(folder), make_teacher(folder / "teacher")

    def __call__(self, *options) -> str:
        return bash(
            *(RECIPE / "run.sh", "--corpus-dir", self.archives),
            *("--config", "conf/gm_ot_setting5.yaml", "--num-epochs", "2", "--model", "small"),
            *("--venv", "none", "--data-dir", self.data, "--exp-dir", self.exp),
            *("--lexicon", "resource_aishell/lexicon.txt"),
            *("--teacher", self.teacher, "--teacher-layer", "1"),
            # To a model of two epochs all is alike: with wide beams its lattices fill gigabytes.
            *("--num-paths", "10", "--decode-options", "--output-beam 2 --max-active-states 100"),
            *options,
        ).stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run once, by every method there is."""
    run = Run(tmp_path_factory.mktemp("aishell"))
    run.printed = run("--decoding-methods", " ".join(METHODS))
    return run


def test_from_archives_to_error_rates(run):
    assert "md5sum.txt, not the official ones" in run.printed
    assert "of 120,098 utterances" in run.printed and "of 104,765 characters" in run.printed
    texts = {
        part: load_supervisions(run.data / "manifests", "aishell", part)
        for part in ("train", "dev", "test")
    }
    assert texts["train"][0][0].startswith("BAC009S0002W")
    records = read_json(run.exp / "small" / "gm_ot_setting5" / "results.json")
    found = {(r["part"], r["method"]): r for r in records}
    assert set(found) == {(part, method) for part in ("dev", "test") for method in EXPECTED}
    for (part, _), record in found.items():
        assert record["num_utterances"] == len(texts[part])
        assert record["ref_len"] == sum(len(text.replace(" ", "")) for _, text in texts[part])
        assert record["ci_low"] <= record["cer"] <= record["ci_high"]
        assert (record["epoch"], record["avg"]) == (2, 2)
    if "nbest-oracle" in EXPECTED:
        for part in ("dev", "test"):
            oracle = found[part, "nbest-oracle"]["cer"]
            assert oracle <= found[part, "nbest"]["cer"]
    table = (run.exp / "small" / "RESULTS.md").read_text(encoding="utf-8")
    assert all(method in table for method in EXPECTED)


def test_a_second_run_repeats_nothing(run):
    printed = run("--decoding-methods", " ".join(METHODS))
    stages = [line for line in printed.splitlines() if "Stage " in line]
    assert len(stages) == 11
    assert all("up to date" in s or "left out, k2 does not load" in s for s in stages)


def test_with_acoustic_pretraining(run):
    """The baseline first, and the system from the mean of its epochs."""
    import torch

    printed = run(
        *("--pretrain", "true", "--decoding-methods", "ctc-greedy-search"),
        *("--train-options", "--base-lr 0", "--num-epochs", "1"),
    )
    assert printed.index("training of baseline") < printed.index("what the others start from")
    exp = run.exp / "small"
    average = torch.load(exp / "baseline" / "average.pt")["model"]
    started = torch.load(exp / "gm_ot_setting5-pretrained" / "epoch-1.pt")["model"]
    assert all(torch.equal(started[name], value) for name, value in average.items())
    table = (exp / "RESULTS.md").read_text(encoding="utf-8")
    assert "baseline" in table and "gm_ot_setting5-pretrained" in table
