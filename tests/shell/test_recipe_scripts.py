"""shared/prepare.sh and run.sh through a corpus of one's own, and .ci/run.

The whole recipe is run elsewhere; here a small Kaldi-style corpus goes through the first stages.
"""

import math
import os
import shutil
import struct
import wave
from pathlib import Path

import pytest

from gmot.transfer.systems import SYSTEMS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["prepare.sh", "run.sh"])
@pytest.mark.parametrize("recipe", sorted(p.parent.name for p in (ROOT / "egs").glob("*/run.sh")))
def test_help_and_refusals_of_every_recipe(bash, recipe, name):
    script = str(ROOT / "egs" / recipe / name)
    result = bash(script, "--help")
    assert result.returncode == 0
    assert f"bash egs/{recipe}/{name} [options]" in result.stdout
    assert "--stop-stage" in result.stdout
    result = bash(script, "--stop-stag", "3")
    assert result.returncode == 2
    assert "unknown option '--stop-stag'" in result.stderr
    result = bash(script, "--stage", "two")
    assert result.returncode == 1
    assert "--stage two: a number is needed" in result.stderr


@pytest.mark.parametrize(
    ("variables", "cache"),
    [
        ("-u XDG_CACHE_HOME HOME=/my/home", "/my/home/.cache"),
        ("XDG_CACHE_HOME=/my/cache", "/my/cache"),
        ("XDG_CACHE_HOME=my/cache", "{started_in}/my/cache"),
        ("-u XDG_CACHE_HOME -u HOME", f"{ROOT}/egs/mini/download/.cache"),
    ],
)
def test_the_mini_corpus_finds_a_cache(bash, tmp_path, variables, cache):
    result = bash(script=f'env {variables} bash "$root/egs/mini/run.sh" --help')
    assert result.returncode == 0, result.stderr
    assert f"(default: {cache.format(started_in=tmp_path)}/gmot/mini/teacher)" in result.stdout


@pytest.fixture
def corpus(tmp_path):
    """A recipe ``own`` beside the repository's shared scripts, with three parts of two tones."""
    recipe = tmp_path / "own"
    recipe.mkdir()
    (recipe / "corpus.sh").write_text(
        'speed_perturb=""\nnum_mel_bins=40\nnormalize_text() { tr -d "?"; }\n'
    )
    for name in ("prepare", "run"):
        (recipe / f"{name}.sh").write_text(f'recipe={recipe}\n. "{ROOT}/shared/{name}.sh"\n')
    for part in ("train", "dev", "test"):
        folder = recipe / "download" / part
        folder.mkdir(parents=True)
        lines = []
        for i in (1, 2):
            tone = (int(8000 * math.sin(n * 0.05 * i)) for n in range(16000))
            with wave.open(str(folder / f"{part}{i}.wav"), "wb") as f:
                f.setparams((1, 2, 16000, 0, "NONE", ""))
                f.writeframes(b"".join(struct.pack("<h", x) for x in tone))
            lines.append(f"{part}{i}")
        (folder / "wav.scp").write_text("".join(f"{x} {x}.wav\n" for x in lines))
        (folder / "text").write_text("".join(f"{x} 今天好?\n" for x in lines), encoding="utf-8")
    return recipe


def test_a_corpus_of_ones_own_goes_through_the_first_stages(bash, corpus):
    def prepare(*arguments):
        return bash(str(corpus / "prepare.sh"), "--venv", "none", *arguments)

    result = prepare("--stop-stage", "2")
    assert result.returncode == 0, result.stderr
    data = corpus / "data"
    assert (data / "manifests/own_supervisions_dev.jsonl.gz").exists()
    assert (data / "fbank/own_cuts_train.jsonl.gz").exists()

    import gzip

    with gzip.open(data / "manifests/own_supervisions_dev.jsonl.gz", "rt", encoding="utf-8") as f:
        text = f.read()
    assert "今天好" in text or "\\u4eca\\u5929\\u597d" in text
    assert "?" not in text  # normalize_text of corpus.sh

    result = prepare("--stop-stage", "2")
    assert result.stderr.count("up to date") == 3

    result = prepare("--stage", "1", "--stop-stage", "2", "--num-mel-bins", "24")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("up to date") == 1
    assert "now: num_mel_bins='24'" in result.stderr

    result = prepare("--stage", "4", "--stop-stage", "4", "--data-dir", "elsewhere")
    assert result.returncode == 1
    assert "needs stage 'manifests', which is not finished" in result.stderr


def test_a_corrected_transcript_makes_new_manifests(bash, corpus):
    command = (str(corpus / "prepare.sh"), "--venv", "none", "--stop-stage", "1")
    assert bash(*command).returncode == 0
    text = corpus / "download/dev/text"
    text.write_text(text.read_text(encoding="utf-8").replace("好", "坏"), encoding="utf-8")
    result = bash(*command)
    assert result.returncode == 0, result.stderr
    assert f"now: file {text}" in result.stderr
    assert f"file {corpus}/download/train/text" not in result.stderr
    assert result.stderr.count("up to date") == 1
    assert bash(*command).stderr.count("up to date") == 2


def test_the_corpus_is_made_again_when_what_it_is_made_from_changes(bash, corpus):
    with open(corpus / "corpus.sh", "a") as f:
        f.write('settle() { corpus_inputs=("$recipe/list"); }\n')
        f.write("download_corpus() { echo made one; }\n")
    (corpus / "list").write_text("a")
    command = (str(corpus / "prepare.sh"), "--venv", "none", "--stop-stage", "0")
    assert bash(*command).stdout == "made one\n"
    assert bash(*command).stdout == ""
    (corpus / "list").write_text("b")
    result = bash(*command)
    assert result.stdout == "made one\n"
    assert f"now: file {corpus}/list" in result.stderr
    script = corpus / "corpus.sh"
    script.write_text(script.read_text().replace("made one", "made two"))
    assert bash(*command).stdout == "made two\n"


def test_products_below_a_relative_data_dir(bash, corpus, tmp_path):
    with open(corpus / "corpus.sh", "a") as f:
        f.write('settle() { corpus_dir=$data_dir/corpus corpus_products=("$corpus_dir/made"); }\n')
        f.write('download_corpus() { mkdir -p "$corpus_dir"; echo one >"$corpus_dir/made"; }\n')
    command = (str(corpus / "prepare.sh"), "--venv", "none", "--data-dir", "here")
    for _ in range(2):
        result = bash(*command, "--stop-stage", "0")
        assert result.returncode == 0, result.stderr
    assert "up to date" in result.stderr and (tmp_path / "here/corpus/made").is_file()


@pytest.mark.parametrize("name", ["数据", 'it\'s $a "b"', "back\\slash"])
def test_odd_paths_reach_the_filter_of_transcripts(bash, corpus, name):
    result = bash(
        *(str(corpus / "prepare.sh"), "--venv", "none", "--stop-stage", "1"),
        *("--data-dir", str(corpus / name)),
        LC_ALL="C",
    )
    assert result.returncode == 0, result.stderr
    assert (corpus / name / "manifests/own_supervisions_dev.jsonl.gz").exists()


@pytest.fixture
def later_stages(bash, corpus, tmp_path):
    """Run stages 8 to 10 with a python that writes down what it is asked, one line a call."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    calls = tmp_path / "calls"
    python.write_text(
        '#!/bin/sh\necho "$@" >>"$calls"\n'
        "while [ $# -gt 1 ]; do case $1 in\n"
        '  --output) echo "| x |" >"$2" ;;\n'
        '  --exp-dir) mkdir -p "$2" && echo "[]" >"$2/results.json" ;;\n'
        '  --store) mkdir -p "$2"; for f in features.bin index.json; do echo x >"$2/$f"; done ;;\n'
        "esac; shift; done\n"
    )
    python.chmod(0o755)
    markers = corpus / "data" / ".stages"
    markers.mkdir(parents=True)
    for name in ("fbank", "lang", "teacher", "teacher_random", "graphs"):
        (markers / f"{name}.done").write_text("run\n")
    (corpus / "conf").mkdir()
    (corpus / "conf" / "common.yaml").write_text("")

    def run(*options, stage="8"):
        calls.unlink(missing_ok=True)
        result = bash(
            *(str(corpus / "run.sh"), "--venv", "none", "--stage", stage, *options),
            calls=str(calls),
            PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        )
        run.result = result
        if result.returncode != 0:
            return []
        assert result.stdout == "| x |\n"
        found = [c for c in calls.read_text().splitlines() if c.startswith("local/")]
        return [c.replace(str(corpus), "OWN") for c in found]

    return run


def test_decoding_and_results_know_their_options(later_stages):
    def run(*options):
        calls = later_stages("--systems", "ctc", *options)
        assert later_stages.result.returncode == 0, later_stages.result.stderr
        return calls

    train, decode, results = run("--avg", "2", "--hlg-scale", "0.3", "--title", "Mine")
    assert train.startswith("local/train.py")
    assert "--avg 2 --hlg-scale 0.3" in decode
    assert results.endswith("--unit utterance --title Mine")
    same = ("--avg", "2", "--hlg-scale", "0.3")
    assert run(*same, "--title", "Mine") == []
    (results,) = run(*same, "--title", "Ours")
    assert results.startswith("local/summarize_results.py") and results.endswith("--title Ours")
    decode, _ = run("--avg", "2", "--hlg-scale", "0.5", "--title", "Ours")
    assert "--avg 2 --hlg-scale 0.5" in decode
    decode, results = run()
    assert "--avg 1 --hlg-scale 0.6" in decode
    assert results.endswith("--title own")
    (results,) = run("--unit", "speaker")  # decoding stores the intervals of both units
    assert "--unit speaker" in results
    assert "--unit speaker" in run("--unit", "speaker", "--avg", "3")[0]
    assert later_stages("--systems", "ctc", "--unit", "word") == []
    assert "--unit word" in later_stages.result.stderr


def test_results_that_are_gone_are_decoded_again(later_stages, corpus):
    """lhotse#1259: a stage whose product is not there runs again."""
    later_stages("--systems", "ctc")
    results = corpus / "exp" / "ctc" / "results.json"
    results.write_text("[1, 2]")  # other commands add to it
    assert later_stages("--systems", "ctc") == []
    results.unlink()
    assert [call.split()[0] for call in later_stages("--systems", "ctc")] == [
        "local/decode.py",
        "local/summarize_results.py",
    ]


def test_options_of_methods_go_with_the_methods(later_stages):
    search = ("--num-paths", "7", "--beam-size", "3", "--teacher", "some/bert")
    _, decode, _ = later_stages("--systems", "ctc", *search)
    assert not any(option in decode for option in ("--num-paths", "--teacher", "--scale-part"))
    several = ("--hlg-scale", "0.2 0.4", "--scale-part", "test")
    decode, _ = later_stages("--systems", "ctc", *search, *several)
    assert "--hlg-scale 0.2 0.4 --scale-part test" in decode
    decode, _ = later_stages("--systems", "ctc", *search, "--decoding-methods", "all")
    methods = decode.split("--decoding-methods ")[1].split(" --")[0].split()
    assert methods == [
        *("ctc-greedy-search", "ctc-prefix-beam-search", "ctc-decoding", "1best", "nbest"),
        *("nbest-oracle", "nbest-rescoring", "whole-lattice-rescoring", "plm-rescoring"),
    ]
    assert "--beam-size 3 --num-paths 7 --nbest-scale 0.5 --scale-part dev" in decode
    assert "--teacher some/bert" in decode


def test_configurations_name_systems_and_folders(later_stages, corpus, tmp_path):
    conf = corpus / "conf"
    (conf / "baseline.yaml").write_text("base: common.yaml\nsystem: ctc  # without a teacher\n")
    (conf / "gm_ot_setting5.yaml").write_text("base: common.yaml\n")
    (tmp_path / "mine.yaml").write_text(f"base: {conf}/other.yaml\nnum-epochs: 3\n")
    (conf / "other.yaml").write_text("system: 'gm_ot_random_teacher'\n")
    options = ("--config", "conf/baseline.yaml conf/gm_ot_setting5.yaml mine.yaml")
    calls = later_stages(*options)
    train = [c for c in calls if c.startswith("local/train.py")]
    assert [c.split(" --prefix")[0] for c in train] == [
        "local/train.py --config OWN/conf/baseline.yaml --system ctc",
        "local/train.py --config OWN/conf/gm_ot_setting5.yaml --system gm_ot_setting5",
        f"local/train.py --config {tmp_path}/mine.yaml --system gm_ot_random_teacher".replace(
            str(corpus), "OWN"
        ),
    ]
    assert "--teacher-store" not in train[0]
    layer = "--teacher-layer last"
    assert f"--teacher-store OWN/data/teacher {layer} --exp-dir" in train[1]
    assert f"--teacher-store OWN/data/teacher_random {layer} --exp-dir OWN/exp/mine" in train[2]
    assert "--systems baseline gm_ot_setting5 mine" in calls[-1]

    # A configuration is made of those it builds on, and of no others.
    (conf / "gm_ot_setting5.yaml").write_text("base: common.yaml\ndropout: 0.2\n")
    (conf / "unused.yaml").write_text("")
    train = [c for c in later_stages(*options) if c.startswith("local/train.py")]
    assert len(train) == 1 and "gm_ot_setting5" in train[0]
    (conf / "common.yaml").write_text("num-epochs: 2\n")
    train = [c for c in later_stages(*options) if c.startswith("local/train.py")]
    assert len(train) == 2


def test_only_systems_that_learn_from_a_teacher_need_its_features(later_stages, corpus):
    """And each kind of features is made once."""
    markers = corpus / "data" / ".stages"
    for name in ("teacher", "teacher_random"):
        (markers / f"{name}.done").unlink()
    (markers / "manifests.done").write_text("run\n")

    def stores(systems):
        calls = later_stages("--systems", systems, stage="7")
        return [c.split("--layer ")[1] for c in calls if c.startswith("local/compute_teacher.py")]

    assert stores("ctc ctc_adapter") == []
    assert not (markers / "teacher.done").exists()
    assert stores("ctc gm_ot hcm gm_ot_random_teacher") == [
        "last --store OWN/data/teacher",
        "last --store OWN/data/teacher_random --random-weights",
    ]
    assert stores("gm_ot") == []
    shutil.rmtree(corpus / "exp")
    calls = [c for c in later_stages("--systems", " ".join(SYSTEMS)) if "local/train.py" in c]
    for settings, call in zip(SYSTEMS.values(), calls):
        assert f"--system {settings.name} " in call
        assert ("--teacher-store" in call) is settings.learns_from_teacher
        assert ("data/teacher_random " in call) is settings.random_teacher
    assert len(calls) == len(SYSTEMS)


def test_a_layer_is_a_setting_of_its_store(later_stages, corpus):
    """An empty value is the last layer; another layer makes another store and trains again."""
    (corpus / "data" / ".stages" / "manifests.done").write_text("run\n")

    def layers(*options):
        calls = later_stages("--systems", "gm_ot", *options, stage="7")
        return [
            c.split("--layer ")[1].split()[0] if "--layer" in c else c.split()[0] for c in calls
        ]

    after = ["local/train.py", "local/decode.py", "local/summarize_results.py"]
    assert layers() == ["last", *after]
    assert layers() == layers("--teacher-layer", "") == layers("--teacher-layer", "last") == []
    assert layers("--teacher-layer", "6") == ["6", *after]
    assert layers("--teacher-layer=-1") == []
    assert "--teacher-layer -1: " in later_stages.result.stderr


@pytest.mark.parametrize(("recipe", "layer"), [("aishell", "last"), ("mini", "6")])
def test_the_layer_of_every_row_of_a_recipe(bash, later_stages, tmp_path, recipe, layer):
    """All five papers have the last layer of BERT; mini's teacher has one of its own."""
    options = ("--venv", "none", "--stage", "7", "--stop-stage", "8")
    data = tmp_path / recipe
    rows = sorted(p.stem for p in (ROOT / "egs" / recipe / "conf").glob("*.yaml"))
    rows = [row for row in rows if row not in ("common", "small", "baseline", "ctc_adapter")]
    if recipe == "mini":
        rows, choice = ["gm_ot"], ("--systems", "gm_ot")
        markers = data / "small" / ".stages"
    else:
        choice = ("--config", " ".join(f"conf/{row}.yaml" for row in rows))
        markers = data / ".stages"
    markers.mkdir(parents=True)
    for name in ("manifests", "fbank", "lang"):
        (markers / f"{name}.done").write_text("run\n")
    result = bash(
        str(ROOT / "egs" / recipe / "run.sh"),
        *(*options, *choice, "--data-dir", str(data), "--exp-dir", str(tmp_path / "exp")),
        calls=str(tmp_path / "calls"),
        PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    )
    assert result.returncode == 0, result.stderr
    store, *trained = (tmp_path / "calls").read_text().splitlines()
    assert store.startswith("local/compute_teacher.py") and f"--layer {layer} " in store
    assert len(trained) == len(rows)
    assert all(f"--teacher-layer {layer} " in call for call in trained)


def test_a_model_is_read_after_each_configuration(later_stages, corpus):
    (corpus / "conf" / "small.yaml").write_text("d-model: 8\n")
    train, decode, results = later_stages("--systems", "ctc", "--model", "small")
    assert "--config OWN/conf/common.yaml OWN/conf/small.yaml --system ctc" in train
    assert "--exp-dir OWN/exp/small/ctc" in train and "--exp-dir OWN/exp/small/ctc" in decode
    assert "--output OWN/exp/small/RESULTS.md" in results
    assert later_stages("--systems", "ctc", "--model", "large") == []
    assert "--model large: there is no" in later_stages.result.stderr


def test_few_epochs_are_averaged_over_what_there_is(later_stages):
    train, decode, _ = later_stages("--systems", "ctc", "--num-epochs", "2", "--avg", "10")
    assert train.endswith("--num-epochs 2") and "--avg 2" in decode
    _, decode, _ = later_stages("--systems", "ctc", "--num-epochs", "12", "--avg", "10")
    assert "--avg 10" in decode


def test_pretraining_comes_first_and_is_what_the_others_start_from(later_stages, corpus):
    options = ("--systems", "gm_ot hcm", "--pretrain", "true", "--avg", "3")
    calls = later_stages(*options)
    first, average, *others = calls[:4]
    assert "--system ctc" in first and "--init-from" not in first
    assert average == (
        "local/average_checkpoints.py --exp-dir OWN/exp/ctc --avg 3 --output OWN/exp/ctc/average.pt"
    )
    for system, call in zip(("gm_ot", "hcm"), others):
        assert f"--system {system}" in call
        assert f"--exp-dir OWN/exp/{system}-pretrained --init-from ctc/average.pt" in call
    assert "--systems ctc gm_ot-pretrained hcm-pretrained" in calls[-1]
    assert later_stages(*options) == []

    # The first one may start from elsewhere; what lies there is an input.
    other = corpus / "other.pt"
    other.write_text("weights")
    elsewhere = ("--init-from", str(other), "--init-lang-dir", "/other/lang")
    first = later_stages(*options, *elsewhere)[0]
    assert first.endswith("--init-from OWN/other.pt --init-lang-dir /other/lang")
    assert later_stages(*options, *elsewhere) == []
    other.write_text("other weights")
    assert later_stages(*options, *elsewhere)[0] == first
    other.unlink()
    assert later_stages(*options, *elsewhere) == []
    assert "its input" in later_stages.result.stderr
    assert len(later_stages(*options)) > 1

    # The baseline's training is the same with and without.
    calls = later_stages("--systems", "ctc gm_ot", "--avg", "3")
    assert [c.split()[0] for c in calls[:2]] == ["local/train.py", "local/decode.py"]

    # One that was trained again starts the others again.
    (corpus / "exp" / "ctc" / "train.done").unlink()
    calls = later_stages(*options)
    assert [c.split()[0] for c in calls[:4]] == [
        *("local/train.py", "local/average_checkpoints.py", "local/train.py", "local/train.py")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--config", "conf/none.yaml"), "--config conf/none.yaml: no such file, neither in"),
        (("--config", "conf/a.yaml conf/a.yaml"), "two configurations of the name 'a'"),
        (("--pretrain", "true", "--pretrain-system", "hcm"), "this is hcm, expected one without"),
        (("--num-epochs", "two"), "--num-epochs two: a number is needed"),
        (("--avg", "x"), "--avg x: a number is needed"),
    ],
)
def test_what_cannot_be_trained_is_refused(later_stages, corpus, options, message):
    (corpus / "conf" / "a.yaml").write_text("")
    assert later_stages(*options) == []
    assert later_stages.result.returncode == 1
    assert message in later_stages.result.stderr


def test_language_models_and_lexicon_know_their_options(bash, corpus, later_stages, tmp_path):
    for name in ("manifests", "lang"):
        (corpus / "data" / ".stages" / f"{name}.done").write_text("run\n")
    (tmp_path / "news.txt").write_text("今天\n", encoding="utf-8")
    (corpus / "download" / "words.txt").write_text("今天 j in1\n", encoding="utf-8")
    (tmp_path / "other").mkdir()
    for name in ("tokens.txt", "lexicon.txt"):
        (tmp_path / "other" / name).write_text("")
    options = (
        *("--lm-text", "news.txt", "--ngram-prune", "1e-7", "--rescore-order", "5"),
        *("--lexicon", "words.txt", "--init-lang-dir", "other"),
    )
    calls = bash(
        *(str(corpus / "prepare.sh"), "--venv", "none", "--stage", "4", "--stop-stage", "4"),
        *options,
        calls=str(tmp_path / "calls"),
        PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    )
    assert "ended without making" in calls.stderr  # by that python
    prepared = (tmp_path / "calls").read_text()
    assert f"--lexicon {corpus}/download/words.txt" in prepared
    assert f"--init-lang-dir {tmp_path}/other" in prepared
    (tmp_path / "calls").unlink()
    (corpus / "data" / ".stages" / "lang.done").write_text("run\n")
    bash(
        *(str(corpus / "prepare.sh"), "--venv", "none", "--stage", "5", "--stop-stage", "5"),
        *options,
        calls=str(tmp_path / "calls"),
        PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    )
    small, large = (tmp_path / "calls").read_text().splitlines()
    common = f"--lang-dir {corpus}/data/lang --text {tmp_path}/news.txt"
    lm = f"{corpus}/data/lm"
    assert small == (f"local/make_ngram.py {common} --order 3 --output {lm}/G.arpa --prune 1e-7")
    assert large == f"local/make_ngram.py {common} --order 5 --output {lm}/G_rescore.arpa"


def test_a_corpus_that_is_not_there_is_asked_for(bash, corpus):
    shutil.rmtree(corpus / "download")
    result = bash(str(corpus / "prepare.sh"), "--venv", "none", "--stop-stage", "0")
    assert result.returncode == 1
    assert f"no corpus at {corpus}/download; say where it is with --corpus-dir" in result.stderr


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (0, 1), (3, 2)])
def test_ci_runs_both_environments_and_fails_with_either(bash, tmp_path, first, second):
    for folder in (".ci", "tests"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "tests" / "run.sh").write_text(
        'echo "$@" >>called\n'
        f'if [ "${{1:-}}" = --torch2 ]; then exit {second}; else exit {first}; fi\n'
    )
    result = bash(".ci/run")
    assert (result.returncode != 0) == (first != 0 or second != 0)
    called = (tmp_path / "called").read_text().splitlines()
    assert len(called) == 2
    assert called[1].startswith("--torch2")
