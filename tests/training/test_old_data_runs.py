"""Fine-tuning on a second corpus with a share of the first, as a user runs it."""

import json
import shutil
import time

import pytest
import torch
import toy_training
from toy_training import finish, run, scalars, script, start, train_options

from gmot.common import read_json
from gmot.model.checkpoint import read_checkpoint, steps_in
from gmot.text.tokens import TokenTable

pytest.importorskip("transformers")
pytestmark = pytest.mark.integration
OLD, NEW = ("今天好", "天今", "好天今", "今好"), ("天气好", "天气", "气好天", "好天气", "气")
TWO = ("--nproc_per_node", "2", "--max_restarts", "0", "--tee", "9:0", "--redirects", "9:0")
TWO += ("--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0")
MIXED = ("--old-fbank-dir", "old/fbank", "--old-prefix", "toy", "--data.old_share", "0.5")
FROM = ("--init-from", "../old/average.pt", "--init-lang-dir", "old/lang")
UPDATES = (
    "--data.update-duration",
    "6",
    "--training.base-lr",
    "0.01",
    "--training.log-interval",
    "1",
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A trained model with its corpus in ``old``, and a second corpus."""
    folder = tmp_path_factory.mktemp("tuning")
    (folder / "old").mkdir()
    toy_training.prepare(folder / "old", {"train": OLD * 3, "dev": OLD, "test": OLD})
    run(folder / "old", train_options("gm_ot", exp="exp"))
    averaging = ("--exp-dir", "exp", "--avg", "1", "--output", "average.pt")
    done = script("average_checkpoints", *averaging, cwd=folder / "old")
    assert done.returncode == 0, done.stderr
    toy_training.prepare(folder, {"train": NEW * 3, "dev": NEW})
    taught = ("--lang-dir", "lang", "--teacher", "bert")
    for name, *options in (
        ("prepare_lang", "--manifest-dir", "manifests", *taught, "--init-lang-dir", "old/lang"),
        ("compute_teacher", "--manifest-dir", "manifests", *taught, "--store", "teacher"),
        ("compute_teacher", "--manifest-dir", "old/manifests", *taught, "--store", "old_teacher")
        + ("--other-splits",),
    ):
        done = script(name, "--prefix", "toy", *options, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def options(exp, *more, row="gm_ot"):
    store = ("--old-teacher-store", "old_teacher") if row == "gm_ot" else ()
    return train_options(row, *MIXED, *FROM, *store, *UPDATES, *more, exp=f"exp/{exp}")


def weights(folder, exp, epoch=1):
    return read_checkpoint(folder / "exp" / exp / f"epoch-{epoch}.pt")["model"]


def test_old_speech_changes_the_training_which_processes_and_kills_do_not(corpora):
    output = run(corpora, options("one", "--training.num-epochs", "2"))
    assert "average.pt: has 5 of the 6 tokens" in output
    assert "h of old speech beside" in output
    run(corpora, train_options("gm_ot", *FROM, *UPDATES, exp="exp/new_alone"))
    one, alone = weights(corpora, "one"), weights(corpora, "new_alone")
    assert any(not torch.equal(one[k], alone[k]) for k in one)
    output = run(corpora, options("two", "--training.num-epochs", "2"), TWO)
    losses = scalars(corpora / "exp" / "one", "train/loss")
    assert scalars(corpora / "exp" / "two", "train/loss") == pytest.approx(losses, rel=1e-3)
    saving = ("--training.num-epochs", "2", "--training.save-steps", "1")
    process = start(corpora, options("parts", *saving))
    while not steps_in(corpora / "exp" / "parts"):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert "resuming" in finish(start(corpora, options("parts", *saving)))
    for name, value in weights(corpora, "parts", 2).items():
        assert torch.equal(value, weights(corpora, "one", 2)[name]), name


def test_rows_of_old_tokens_begin_with_the_old_ones(corpora):
    still = ("--training.base-lr", "0", "--training.ema_decay", "0")
    run(corpora, options("still", *still, row="ctc"))
    old = read_checkpoint(corpora / "old" / "average.pt")["model"]
    new = weights(corpora, "still")
    tables = [TokenTable.load(corpora / name / "tokens.txt") for name in ("lang", "old/lang")]
    assert set(tables[1].symbols) < set(tables[0].symbols)
    for token, row in tables[1].ids.items():
        assert torch.equal(new["head.weight"][tables[0].ids[token]], old["head.weight"][row])


def test_the_old_test_set_is_decoded_before_and_after(corpora):
    run(corpora, options("after", row="ctc"))
    common = ("--prefix", "toy", "--fbank-dir", "old/fbank", "--splits", "test")
    common += ("--split-prefix", "old-", "--decoding.methods", "ctc-greedy-search")
    for exp, *more in (
        ("before", "--checkpoint", "old/average.pt", "--lang-dir", "old/lang"),
        ("after", "--lang-dir", "lang"),
    ):
        done = script("decode", *common, "--exp-dir", f"exp/{exp}", *more, cwd=corpora)
        assert done.returncode == 0, done.stderr
        (record,) = read_json(corpora / "exp" / exp / "results.json")
        assert record["split"] == "old-test"
        assert list((corpora / "exp" / exp).rglob("recogs-old-test*"))
    arguments = ("--exp-dir", "exp", "--experiments", "before", "after", "--output", "R.md")
    done = script("summarize_results", *arguments, cwd=corpora)
    assert done.returncode == 0, done.stderr
    assert "old-test" in (corpora / "R.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--old-prefix", "none"], "none_cuts_train"),
        (["--data.old_share", "0"], "--old-fbank-dir: nothing of it would be used"),
        (["--lang-dir", "narrow"], "narrow/tokens.txt lacks tokens of the old text"),
        (["--old-teacher-store", "other"], "other: features of another teacher or layer"),
    ],
)
def test_wrong_old_data_is_one_line(corpora, change, message):
    row = "gm_ot" if "--old-teacher-store" in change else "ctc"
    if not (corpora / "narrow").exists():
        shutil.copytree(corpora / "teacher", corpora / "other")
        index = json.loads((corpora / "other/index.json").read_text())
        index["fingerprint"] = "other"
        (corpora / "other/index.json").write_text(json.dumps(index))
        narrow = ("--manifest-dir", "manifests", "--lang-dir", "narrow", "--teacher", "bert")
        assert script("prepare_lang", "--prefix", "toy", *narrow, cwd=corpora).returncode == 0
    output = run(corpora, [*options("wrong", row=row), *change], status=1)
    assert message in output.splitlines()[-1]
