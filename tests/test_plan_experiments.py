"""Names, teacher stores and averaging of a recipe's experiments."""

from pathlib import Path

import pytest

from gmot.bin.plan_experiments import UNNAMED, get_parser, plan, suffix
from gmot.common import GmotError

ROOT = Path(__file__).resolve().parents[1]
ROWS = sorted(path.stem for path in (ROOT / "egs" / "aishell" / "conf").glob("*.yaml"))


def experiments(*configs, options=(), avg=10, model="paper", pretrain="false", more=()):
    args = get_parser().parse_args(
        [
            *more,
            *("--configs", *(f"conf/{name}.yaml" for name in configs), "--avg", str(avg)),
            *("--preset", str(ROOT / "shared" / "conf" / f"{model}.yaml"), "--pretrain", pretrain),
            *("--folders", str(ROOT), str(ROOT / "egs" / "aishell")),
        ]
    )
    return plan(args, list(options))


def test_every_row_has_the_store_that_it_learns_from():
    stores = {e.name: e.store for e in experiments(*ROWS)}
    assert list(stores) == ROWS
    assert [name for name in ROWS if stores[name] == "-"] == ["baseline", "ctc_adapter"]
    assert [name for name in ROWS if stores[name] == "teacher_random"] == ["gm_ot_random_teacher"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("", ""),
        ("--transfer.alpha 0.03 --training.num_epochs 2", "_alpha0.03_num_epochs2"),
        ("--transfer.alpha=0.03 --training.num-epochs=2", "_alpha0.03_num_epochs2"),
        ("--data.speeds 0.9 1.1", "_speeds0.91.1"),
        ("--data.speeds [0.9,1.1]", "_speeds-0.9-1.1-"),
        ("--model.positions ../absolute", "_positions..-absolute"),
        ("--data.num_workers 4 --training.seed 1", "_seed1"),
        ("--training.keep_best=3 --training.save_minutes 5 --training.seed 1", "_seed1"),
    ],
)
def test_options_name_the_experiment(options, name):
    assert suffix(options.split()) == name


def test_options_of_decoding_do_not_name_the_experiment():
    words = ["--decoding.beam_size", "3", "--transfer.alpha", "0.5", "--decoding.num_paths=9"]
    assert [e.name for e in experiments("gm_ot_setting1", options=words)] == [
        "gm_ot_setting1_alpha0.5"
    ]


def test_options_of_the_transfer_do_not_apply_to_ctc_alone():
    words = ["--transfer.alpha", "0.5", "--training.seed", "2"]
    found = {e.name: e.options for e in experiments("baseline", "gm_ot_setting1", options=words)}
    assert found == {"baseline_seed2": "common", "gm_ot_setting1_alpha0.5_seed2": "all"}


@pytest.mark.parametrize(
    ("model", "options", "avg"),
    [
        ("paper", [], 10),
        ("small", [], 5),  # of so many the checkpoints are kept
        ("paper", ["--training.num_epochs", "2"], 2),
        ("paper", ["--training.keep_last=4"], 4),
    ],
)
def test_no_more_epochs_are_averaged_than_there_are(model, options, avg):
    (experiment,) = experiments("baseline", options=options, model=model)
    assert experiment.avg == avg


def test_pretraining():
    found = experiments("baseline", "baseline", "hcm", "ctc_adapter", pretrain="true")
    assert [e.name for e in found] == ["baseline", "hcm-pretrained", "ctc_adapter-pretrained"]
    with pytest.raises(GmotError, match="hcm.yaml"):
        experiments("hcm", "baseline", pretrain="true")


def test_fewer_averaged_epochs_are_told_before_training(caplog):
    """OpenNMT-tf#839, wespeaker#117."""
    experiments("baseline", options=["--training.num_epochs", "2"])
    assert "--avg 10" in caplog.text and "2 epochs" in caplog.text
    caplog.clear()
    experiments("baseline")
    assert not caplog.text


@pytest.mark.parametrize(
    ("options", "more", "avg", "extra"),
    [
        ([], "--average best", 10, "--training.keep_best 10"),
        (["--training.keep_best", "12"], "--average best", 10, "-"),
        (["--training.num_epochs", "4"], "--average best", 4, "--training.keep_best 4"),
        ([], "--average ema", 1, "-"),
        ([], "--epoch 125", 5, "-"),  # 121 to 130 are kept
        (["--training.num_epochs", "12", "--training.keep_last", "12"], "--epoch 4", 4, "-"),
    ],
)
def test_epochs_of_other_averages(options, more, avg, extra):
    (experiment,) = experiments("baseline", options=options, more=more.split())
    assert (experiment.avg, experiment.more) == (avg, extra)


@pytest.mark.parametrize(
    ("options", "more", "facts"),
    [
        ([], "--epoch 120", "--epoch 120.*130.*10.*keep_last"),
        ([], "--epoch 131", "--epoch 131.*130"),
        (["--training.ema_decay", "0"], "--average ema", "ema_decay"),
    ],
)
def test_epochs_that_will_not_be_there_are_refused(options, more, facts):
    with pytest.raises(GmotError, match=facts):
        experiments("baseline", options=options, more=more.split())


def test_seeds():
    found = experiments("baseline", "hcm", more=["--seeds", "1", "2"], pretrain="true")
    assert [(e.name, e.start, e.more) for e in found] == [
        ("baseline_seed1", "-", "--training.seed 1"),
        ("baseline_seed2", "-", "--training.seed 2"),
        ("hcm_seed1-pretrained", "baseline_seed1", "--training.seed 1"),
        ("hcm_seed2-pretrained", "baseline_seed2", "--training.seed 2"),
    ]
    alone = experiments("hcm", options=["--training.seed", "2"])
    assert alone[0].name == experiments("hcm", more=["--seeds", "2"])[0].name == "hcm_seed2"
    with pytest.raises(GmotError, match="--seeds.*--training.seed"):
        experiments("hcm", options=["--training.seed=2"], more=["--seeds", "1"])


def test_the_size_of_an_update():
    assert experiments("baseline")[0].update_duration == "1000"
    assert experiments("baseline", model="small")[0].update_duration == "-"
    options = ["--data.update_duration", "null"]
    assert experiments("baseline", options=options)[0].update_duration == "-"


def test_two_experiments_of_one_name_are_refused():
    with pytest.raises(GmotError, match="hcm"):
        experiments("hcm", "hcm")


def test_the_shell_ignores_the_options_that_name_no_folder():
    """shared/stage.sh runs no finished stage again for them."""
    text = (ROOT / "shared" / "stage.sh").read_text(encoding="utf-8")
    ignored = text.partition('unrecorded="')[2].partition('"')[0].replace("\\\n", "").split()
    names = {word.removeprefix("--").rpartition(".")[2] for word in ignored if "." in word}
    assert names == UNNAMED
