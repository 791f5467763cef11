"""Stages and options of the recipes, with a python that only records what it is asked to run."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent.name for path in (ROOT / "egs").glob("*/run.sh"))


@pytest.mark.parametrize("name", ["prepare.sh", "run.sh"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_help_and_refusals_of_every_recipe(bash, recipe, name):
    script = str(ROOT / "egs" / recipe / name)
    result = bash(script, "--help")
    assert result.returncode == 0
    assert f"bash egs/{recipe}/{name} [options]" in result.stdout
    assert "--stop-stage" in result.stdout
    result = bash(script, "--stop-stag", "3")
    assert result.returncode == 2
    assert "--stop-stag'" in result.stderr
    result = bash(script, "--stage", "two", "--data-dir", "data")
    assert result.returncode == 1
    assert "--stage" in result.stderr and "two" in result.stderr


@pytest.mark.parametrize(
    ("variables", "cache"),
    [
        ("-u XDG_CACHE_HOME HOME=/my/home", "/my/home/.cache"),
        ("XDG_CACHE_HOME=/my/cache", "/my/cache"),
        ("XDG_CACHE_HOME=my/cache", "{started_in}/my/cache"),
        ("-u XDG_CACHE_HOME -u HOME", f"{ROOT}/egs/mini/download/.cache"),
    ],
)
def test_the_cache_of_the_mini_corpus(bash, tmp_path, variables, cache):
    result = bash(script=f'env {variables} bash "$root/egs/mini/run.sh" --help')
    assert result.returncode == 0, result.stderr
    assert f"(default: {cache.format(started_in=tmp_path)}/gmot/mini/teacher)" in result.stdout


# Makes what the stages expect. Planning is done in earnest.
PYTHON = f"""#!/bin/bash
case $1 in -c) exit 0 ;; local/plan_experiments.py) exec {sys.executable} "$@" ;; esac
echo "$@" >>"$calls"
script=$1
while [ $# -gt 1 ]; do
  case $1 in
    --output | --rescore-arpa) mkdir -p "$(dirname "$2")"; echo "| x |" >"$2" ;;
    --exp-dir) mkdir -p "$2"; [ -s "$2/results.json" ] || echo "[]" >"$2/results.json"
      if [ $script = local/make_report.py ]; then echo x >"$2/report.html"; fi ;;
    --store) mkdir -p "$2"; for f in features.bin index.json; do echo x >"$2/$f"; done ;;
    --lang-dir) mkdir -p "$2"
      echo x | tee "$2"/{{units.json,{{tokens,words,lexicon}}.txt}} >"$2/text" ;;
    --graph-dir) mkdir -p "$2"; for f in H HLG G; do echo x >"$2/$f.pt"; done ;;
  esac
  shift
done
"""


@pytest.fixture
def recipe(bash, tmp_path):
    """Function that runs a recipe from a stage on, with those before it finished.

    Returns the recorded commands but those of the reports.
    """
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    calls = tmp_path / "calls"
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "tokenizer.json").write_text("{}")
    (tmp_path / "teacher" / "model.safetensors").write_text("weights")

    def run(*options, name="mini", script="run.sh", stage=8):
        data = tmp_path / name / ("small" if name == "mini" else "") / ".stages"
        data.mkdir(parents=True, exist_ok=True)
        finished = ["manifests", "fbank", "lang", "graphs", "teacher"]
        for marker in finished[: {4: 2, 7: 4, 8: 5}.get(stage, 0)]:
            if not (data / f"{marker}.done").exists():
                (data / f"{marker}.done").write_text("run\n")
        calls.write_text("")
        run.result = bash(
            *(str(ROOT / "egs" / name / script), "--venv", "none", "--stage", str(stage)),
            *("--data-dir", str(tmp_path / name), "--teacher", str(tmp_path / "teacher")),
            *(("--exp-dir", str(tmp_path / "exp")) if script == "run.sh" else ()),
            *map(str, options),
            calls=str(calls),
            PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        )
        lines = calls.read_text().splitlines()
        run.reports = [line for line in lines if "make_report" in line]
        lines = [line for line in lines if line not in run.reports]
        return [line.replace(str(tmp_path), "TMP").replace(str(ROOT), "ROOT") for line in lines]

    return run


def names(calls):
    return [call.split()[0].removeprefix("local/").removesuffix(".py") for call in calls]


def test_two_experiments_are_trained_decoded_and_compared(recipe):
    calls = recipe()
    assert recipe.result.returncode == 0, recipe.result.stderr
    assert names(calls) == ["train", "decode"] * 2 + ["summarize_results"]
    train, decode = calls[2:4]
    assert "--config ROOT/shared/conf/small.yaml --config ROOT/egs/mini/conf/gm_ot.yaml" in train
    assert "--exp-dir TMP/exp/small/small/gm_ot" in train
    assert "--teacher-store TMP/mini/small/teacher --teacher-layer 6" in train
    assert "--teacher-store" not in calls[0]
    assert "--config ROOT/egs/mini/decoding.yaml" in decode and "--avg 3" in decode
    assert "--splits dev test" in decode and "--graph-dir TMP/mini/small/graphs" in decode
    assert "--experiments ctc gm_ot" in calls[4]
    assert recipe.result.stdout == "| x |\n"
    assert recipe() == []
    assert recipe.result.stdout == "| x |\n"


def test_each_experiment_has_a_report(recipe):
    if not (ROOT / "local" / "make_report.py").exists():
        pytest.skip("no reports")
    recipe()
    dirs = [call.split("--exp-dir ")[1].split()[0] for call in recipe.reports]
    assert [Path(folder).name for folder in dirs] == ["ctc", "gm_ot"]
    recipe()
    assert recipe.reports == []
    recipe("--config=conf/ctc.yaml", "--avg", "2")
    assert len(recipe.reports) == 1


def test_a_changed_option_reruns_the_stages_that_it_concerns(recipe):
    ctc = ("--config", "conf/ctc.yaml")
    recipe(*ctc)
    assert names(recipe(*ctc, "--title", "Mine")) == ["summarize_results"]
    assert names(recipe(*ctc, "--title", "Mine", "--unit", "speaker")) == ["summarize_results"]
    recipe(*ctc)
    assert names(recipe(*ctc, "--avg", "2")) == ["decode", "summarize_results"]
    calls = recipe(*ctc, "--decoding.methods", "1best", "nbest", "--epoch", "4")
    assert names(calls) == ["decode", "summarize_results"]
    assert "--decoding.methods 1best nbest" in calls[0] and "--epoch 4" in calls[0]
    assert (
        recipe(*ctc, "--num-jobs", "7", "--decoding.methods", "1best", "nbest", "--epoch", "4")
        == []
    )


def test_deleted_results_are_made_again(recipe, tmp_path):
    """lhotse#1259."""
    ctc = ("--config", "conf/ctc.yaml")
    recipe(*ctc)
    results = tmp_path / "exp/small/small/ctc/results.json"
    results.write_text("[1, 2]")  # other commands extend it
    assert recipe(*ctc) == []
    results.unlink()
    assert names(recipe(*ctc)) == ["decode", "summarize_results"]


def test_dotted_options_reach_the_training_and_name_its_folder(recipe):
    words = "--training.num_epochs 2 --transfer.alpha 0.03 --decoding.beam_size 3"
    calls = recipe(*words.split())
    ctc, gm_ot = "ctc_num_epochs2", "gm_ot_alpha0.03_num_epochs2"
    for name, (train, decode) in ((ctc, calls[:2]), (gm_ot, calls[2:4])):
        assert f"--exp-dir TMP/exp/small/small/{name} " in train
        assert f"--exp-dir TMP/exp/small/small/{name} " in decode
        assert decode.endswith("--decoding.beam_size 3") and "--avg 2" in decode
    assert calls[0].endswith("/teacher --training.num_epochs 2")
    assert calls[2].endswith("--teacher-layer 6 --transfer.alpha 0.03 --training.num_epochs 2")
    assert f"--experiments {ctc} {gm_ot}" in calls[4]


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--transfer.alhpa", "0.03"), ("--transfer.alhpa", "--transfer.alpha")),
        (("--transfer.alpha", "much"), ("--transfer.alpha", "number", "much")),
        (("--transfer.alpha", "-3"), ("--transfer.alpha", "0", "1", "-3")),
        (("--decoding.beam_size", "x"), ("--decoding.beam_size", "integer", "x")),
        (("--config", "conf/none.yaml"), ("conf/none.yaml", "egs/mini")),
        (("--config", "conf/ctc.yaml", "--config", "conf/ctc.yaml"), ("ctc",)),
        (("--pretrain", "--avg", "x"), ("--avg", "x")),
        (("--model", "huge"), ("huge.yaml",)),
    ],
)
def test_wrong_options_are_refused_in_one_line_before_any_stage(recipe, options, facts):
    assert recipe(*options, stage=0) == []
    assert recipe.result.returncode != 0
    lines = recipe.result.stderr.splitlines()
    assert "Traceback" not in recipe.result.stderr
    assert all(fact in lines[-1] for fact in facts), lines


def test_configurations_of_ones_own(recipe, tmp_path):
    """Relative to the working folder; a changed file trains its experiment again."""
    (tmp_path / "mine.yaml").write_text("transfer: {objective: none}\n")
    (tmp_path / "large.yaml").write_text("model: {num_layers: 8}\n")
    options = ("--config", "mine.yaml", "--config", "conf/gm_ot.yaml", "--model", "large.yaml")
    calls = recipe(*options)
    assert names(calls) == ["train", "decode"] * 2 + ["summarize_results"]
    assert (
        "--config TMP/large.yaml --config TMP/mine.yaml --exp-dir TMP/exp/small/large/mine"
        in calls[0]
    )
    (tmp_path / "mine.yaml").write_text("transfer: {objective: none}\ntraining: {seed: 1}\n")
    assert names(recipe(*options)) == ["train", "decode", "summarize_results"]
    (tmp_path / "large.yaml").write_text("model: {num_layers: 9}\n")
    assert names(recipe(*options)) == ["train", "decode"] * 2 + ["summarize_results"]


def test_only_the_stores_that_experiments_need_are_made(recipe):
    def stores(*configs):
        calls = recipe(*(f"--config=conf/{name}.yaml" for name in configs), stage=7)
        used.extend(call for call in calls if "--teacher-store" in call)
        return [call.split("--layer ")[1] for call in calls if "compute_teacher" in call]

    used = []
    assert stores("ctc") == []
    assert stores("ctc", "gm_ot", "hcm", "gm_ot_random_teacher") == [
        "6 --store TMP/mini/small/teacher",
        "6 --store TMP/mini/small/teacher_random --random-weights",
    ]
    assert stores("gm_ot") == []
    stores_used = [call.split("--teacher-store ")[1] for call in used]
    assert stores_used == [
        *["TMP/mini/small/teacher --teacher-layer 6"] * 2,
        "TMP/mini/small/teacher_random --teacher-layer 6",
    ]


@pytest.mark.parametrize(("name", "layer"), [("aishell", "last"), ("mini", "6")])
def test_the_teacher_layer_of_a_recipe(recipe, name, layer):
    """All papers use the last layer of BERT; the teacher of mini has one of its own."""
    options = ("--config", f"conf/{'gm_ot_setting5' if name == 'aishell' else 'gm_ot'}.yaml")
    calls = recipe(*options, name=name, stage=7)
    used = [call for call in calls if "compute_teacher" in call or "train" in call.split()[0]]
    assert used and all(f"layer {layer} " in f"{call} " for call in used)
    other = recipe(*options, "--teacher-layer", "3", name=name, stage=7)
    assert names(other)[:2] == ["compute_teacher", "train"]


def test_pretraining_comes_first_and_starts_the_others(recipe, tmp_path):
    options = ("--config=conf/gm_ot.yaml", "--config=conf/hcm.yaml", "--pretrain")
    calls = recipe(*options)
    assert names(calls) == [
        *("train", "average_checkpoints", "decode", "train", "decode", "train", "decode"),
        "summarize_results",
    ]
    exp = "TMP/exp/small/small"
    assert f"--exp-dir {exp}/ctc " in calls[0] and "--init-from" not in calls[0]
    assert calls[1].endswith(f"--exp-dir {exp}/ctc --avg 3 --output {exp}/ctc/average.pt")
    for name, call in (("gm_ot", calls[3]), ("hcm", calls[5])):
        assert f"--exp-dir {exp}/{name}-pretrained " in call
        assert "--init-from ctc/average.pt" in call
    assert "--experiments ctc gm_ot-pretrained hcm-pretrained" in calls[-1]
    assert recipe(*options) == []

    # One that was trained again starts the others again.
    (tmp_path / "exp/small/small/ctc/train.done").unlink()
    assert names(recipe(*options)) == names(calls)

    # Without pretraining the baseline is the same and the others are new.
    assert names(recipe(*options[:2], "--config=conf/ctc.yaml")) == [
        *("train", "decode", "train", "decode", "summarize_results")
    ]


def test_the_model_that_training_starts_from_is_an_input(recipe, tmp_path):
    options = ("--config", "conf/ctc.yaml", "--init-from", "other.pt", "--init-lang-dir", "lang")
    (tmp_path / "other.pt").write_text("weights")
    train, *_ = recipe(*options)
    assert "--init-from TMP/other.pt --init-lang-dir TMP/lang" in train
    assert recipe(*options) == []
    (tmp_path / "other.pt").write_text("other weights")
    assert names(recipe(*options))[0] == "train"
    (tmp_path / "other.pt").unlink()
    assert recipe(*options) == []
    assert "other.pt" in recipe.result.stderr


def test_language_models_and_lexicon_of_aishell(recipe, tmp_path):
    (tmp_path / "news.txt").write_text("今天\n", encoding="utf-8")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "words.txt").write_text("今天 j in1\n", encoding="utf-8")
    (tmp_path / "corpus" / "data_aishell").mkdir()
    (tmp_path / "other").mkdir()
    for name in ("tokens.txt", "lexicon.txt"):
        (tmp_path / "other" / name).write_text("")
    options = (
        *("--corpus-dir", "corpus", "--lexicon", "words.txt", "--init-lang-dir", "other"),
        *("--lm-text", "news.txt", "--lm-text", tmp_path / "corpus/words.txt"),
        *("--topology", "full", "--stop-stage", "6"),
    )
    calls = recipe(*options, name="aishell", script="prepare.sh", stage=4)
    assert recipe.result.returncode == 0, recipe.result.stderr
    assert names(calls) == ["prepare_lang", "make_ngram", "make_ngram", "compile_graphs"]
    assert "--lexicon TMP/corpus/words.txt --init-lang-dir TMP/other" in calls[0]
    for call, order in zip(calls[1:3], "34"):
        assert f"--text TMP/news.txt TMP/corpus/words.txt --order {order}" in call
    assert calls[3].endswith("--topology full")
    assert recipe(*options, name="aishell", script="prepare.sh", stage=4) == []
    (tmp_path / "news.txt").write_text("明天\n", encoding="utf-8")
    calls = recipe(*options, name="aishell", script="prepare.sh", stage=4)
    assert names(calls) == ["make_ngram", "make_ngram", "compile_graphs"]


def test_units_and_groups_of_a_recipe(recipe, tmp_path):
    def command(calls, name):
        return next(call for call in calls if call.startswith(f"local/{name}.py"))

    options = {"name": "speechocean762", "stage": 4}
    config = ("--config", "conf/ctc.yaml")
    recipe(*config, "--stop-stage", "3", **options)  # makes the folder of the markers
    assert recipe.result.returncode == 0, recipe.result.stderr
    lang = command(recipe("--stop-stage", "4", *config, **options), "prepare_lang")
    assert "--units bpe --vocab-size 500" in lang
    chosen = ("--units", "characters", "--vocab-size", "", "--stop-stage", "4", *config)
    lang = command(recipe(*chosen, **options), "prepare_lang")
    assert "--units characters" in lang and "--vocab-size" not in lang
    options["stage"] = 8
    (tmp_path / "speechocean762" / "corpus").mkdir()
    (tmp_path / "speechocean762" / "corpus" / "groups").write_text("0001 adult\n")
    assert "--groups TMP/speechocean762/corpus/groups" in command(
        recipe(*config, **options), "decode"
    )
    assert "--groups" not in command(recipe(*config), "decode")


def test_without_k2_the_graphs_are_left_out(recipe, tmp_path):
    python = tmp_path / "bin" / "python"
    python.write_text(PYTHON.replace("-c) exit 0", "-c) exit 1"))
    python.chmod(0o755)
    assert recipe("--stop-stage", "6", script="prepare.sh", stage=6) == []
    assert recipe.result.returncode == 0
    assert "k2" in recipe.result.stderr
    recipe("--config", "conf/ctc.yaml", stage=7)
    (tmp_path / "mini/small/.stages/graphs.done").unlink()
    assert names(recipe("--config", "conf/ctc.yaml", stage=9)) == ["decode", "summarize_results"]


@pytest.fixture
def old(tmp_path):
    """Data folder of another corpus, and a model that was trained on it."""
    for name in ("fbank/before_cuts_train.jsonl.gz", "manifests/x", "lang/tokens.txt"):
        (tmp_path / "old" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "old" / name).write_text("x\n")
    (tmp_path / "average.pt").write_text("weights")
    return ("--old-data", tmp_path / "old", "--init-from", tmp_path / "average.pt")


def test_fine_tuning_mixes_old_speech_and_decodes_the_old_test_set(recipe, old):
    calls = recipe(*old, "--config", "conf/gm_ot.yaml", stage=7)
    assert recipe.result.returncode == 0, recipe.result.stderr
    assert names(calls) == [
        *("compute_teacher", "compute_teacher", "train", *["decode"] * 4, "summarize_results")
    ]
    _, teacher, train, decoded, decoded_old, before, before_old, results = calls
    assert "--manifest-dir TMP/old/manifests --prefix before --train-split train" in teacher
    assert "--lang-dir TMP/mini/small/lang" in teacher
    assert "--init-from TMP/average.pt --init-lang-dir TMP/old/lang" in train
    assert "--old-fbank-dir TMP/old/fbank --old-prefix before" in train
    assert "--old-teacher-store TMP/mini/small/old_teacher --data.old_share 0.2" in train
    name = "gm_ot_old_share0.2"
    for call, folder in ((decoded, name), (decoded_old, name), (before, "before")):
        assert f"--exp-dir TMP/exp/small/small/{folder} " in call
    for call, lang in ((decoded_old, "mini/small"), (before_old, "old")):
        assert "--prefix before --fbank-dir TMP/old/fbank --splits test" in call
        assert "--split-prefix before- --decoding.methods ctc-greedy-search" in call
        assert f"--lang-dir TMP/{lang}/lang" in call
    assert "--checkpoint TMP/average.pt" in before and "--splits dev test" in before
    assert f"--experiments before {name} " in results
    assert recipe(*old, "--config", "conf/gm_ot.yaml") == []


def test_no_old_share_measures_alone(recipe, old):
    calls = recipe(*old, "--old-share", "0", "--config", "conf/gm_ot.yaml")
    assert names(calls) == ["train", *["decode"] * 4, "summarize_results"]
    assert "--old-" not in calls[0] and "old_share" not in calls[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--old-data", "old"), "--old-data needs --init-from"),
        (("--old-data", "x", "--init-from", "average.pt"), "x: expected the data folder of one"),
    ],
)
def test_old_data_that_is_none(recipe, old, options, message):
    assert recipe(*options) == []
    assert recipe.result.returncode == 1 and message in recipe.result.stderr
