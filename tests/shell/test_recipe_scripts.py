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


@pytest.mark.parametrize("name", ["数据", 'it\'s $a "b"', "back\\slash"])
def test_odd_paths_reach_the_filter_of_transcripts(bash, corpus, name):
    result = bash(
        *(str(corpus / "prepare.sh"), "--venv", "none", "--stop-stage", "1"),
        *("--data-dir", str(corpus / name)),
        LC_ALL="C",
    )
    assert result.returncode == 0, result.stderr
    assert (corpus / name / "manifests/own_supervisions_dev.jsonl.gz").exists()


def test_decoding_and_results_know_their_options(bash, corpus, tmp_path):
    """A python that writes down what it is asked stands for training and decoding."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    calls = tmp_path / "calls"
    python.write_text(
        '#!/bin/sh\necho "$@" >>"$calls"\n'
        'while [ $# -gt 1 ]; do if [ "$1" = --output ]; then echo "| x |" >"$2"; fi; shift; done\n'
    )
    python.chmod(0o755)
    markers = corpus / "data" / ".stages"
    markers.mkdir(parents=True)
    for name in ("fbank", "lang", "teacher", "graphs"):
        (markers / f"{name}.done").write_text("run\n")
    (corpus / "conf").mkdir()
    (corpus / "conf" / "ctc.yaml").write_text("")

    def run(*options):
        calls.unlink(missing_ok=True)
        result = bash(
            *(str(corpus / "run.sh"), "--venv", "none", "--stage", "8", "--systems", "ctc"),
            *options,
            calls=str(calls),
            PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == "| x |\n"
        return [c for c in calls.read_text().splitlines() if c.startswith("local/")]

    train, decode, results = run("--avg", "2", "--hlg-scale", "0.3", "--title", "Mine")
    assert train.startswith("local/train.py")
    assert "--avg 2 --hlg-scale 0.3" in decode
    assert results.endswith("--title Mine")
    same = ("--avg", "2", "--hlg-scale", "0.3")
    assert run(*same, "--title", "Mine") == []
    (results,) = run(*same, "--title", "Ours")
    assert results.startswith("local/summarize_results.py") and results.endswith("--title Ours")
    decode, _ = run("--avg", "2", "--hlg-scale", "0.5", "--title", "Ours")
    assert "--avg 2 --hlg-scale 0.5" in decode
    decode, results = run()
    assert "--avg 1 --hlg-scale 0.6" in decode
    assert results.endswith("--title own")


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
