"""decode.py and summarize_results.py with an untrained model."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import pytest
import torch
from small_bert import save_small_bert

from gmot.bin import decode as decode_script
from gmot.common import GmotError, write_json
from gmot.decode.config import DecodingConfig
from gmot.decode.k2_import import k2_available
from gmot.evaluation.decoding import decode as decode_with
from gmot.evaluation.files import read_recogs
from gmot.text.lang import Lang
from gmot.text.ngram import train
from gmot.text.tokens import TokenTable

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {"train": ["今天好", "天气好"], "dev": ["今天", "好天气", "今"]}
WITHOUT_K2 = ["ctc-greedy-search", "ctc-prefix-beam-search"]
WITH_K2 = [
    *("ctc-decoding", "1best", "nbest", "nbest-oracle", "nbest-rescoring"),
    "whole-lattice-rescoring",
]
METHODS = WITHOUT_K2 + (WITH_K2 if k2_available() else [])


def run(script, *arguments):
    """(status, standard output, standard error) of a script, started from another folder."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "local" / script), *map(str, arguments)],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.returncode, result.stdout, result.stderr


def refused(outcome):
    """The one-line error of a script that gave up as it should."""
    status, _, err = outcome
    assert status == 1, err
    assert "Traceback" not in err
    return err.splitlines()[-1]


def assert_ours(err):
    """Every line is one of our log: none of kaldilm's parser, k2 or torch."""
    for line in err.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d [\d:]{8} (INFO|WARNING) ", line), line


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Features of noise, a lang folder, graphs, and checkpoints of two epochs."""
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    for part, texts in TEXTS.items():
        (folder / "corpus" / part).mkdir(parents=True)
        for i in range(len(texts)):
            noise = 0.1 * torch.randn(8000 + 4000 * i, generator=generator)
            soundfile.write(folder / "corpus" / part / f"{part}{i}.wav", noise.numpy(), 16000)
        lists = {"wav.scp": [f"{part}{i}.wav" for i in range(len(texts))], "text": texts}
        for name, values in lists.items():
            lines = "".join(f"{part}{i} {value}\n" for i, value in enumerate(values))
            (folder / "corpus" / part / name).write_text(lines, encoding="utf-8")
    (folder / "corpus/dev/utt2spk").write_text("dev0 s1\ndev1 s2\ndev2 s1\n")
    common = ("--prefix", "toy", "--splits", *TEXTS, "--manifest-dir", folder / "manifests")
    for script, more in (
        ("prepare_manifests.py", ("--corpus-dir", folder / "corpus")),
        ("compute_fbank.py", ("--fbank-dir", folder / "fbank", "--num-mel-bins", 20)),
    ):
        status, _, err = run(script, *common, *more)
        assert status == 0, err

    lang = Lang.from_texts(TEXTS["train"], list)
    lang.save(folder / "lang")
    for name, order in (("G", 2), ("G_rescore", 3)):
        model = train(lang.text, order, vocabulary=lang.words.words)
        model.save_arpa(folder / f"{name}.arpa")
    if k2_available():
        arguments = ("--lang-dir", folder / "lang", "--arpa", folder / "G.arpa")
        arguments += ("--rescore-arpa", folder / "G_rescore.arpa")
        status, out, err = run("compile_graphs.py", *arguments, "--graph-dir", folder / "graphs")
        assert status == 0 and not out, err
        assert_ours(err)
    for system in ("ctc", "gm_ot"):
        write_checkpoints(folder / "exp" / system, lang.tokens)
    return folder


def write_checkpoints(exp_dir, tokens):
    from gmot.model.checkpoint import epoch_path, save_checkpoint
    from gmot.model.ctc_model import CtcModel, ModelConfig

    shape = ModelConfig(
        vocab_size=len(tokens),
        num_features=20,
        d_model=16,
        num_heads=2,
        ffn_dim=16,
        num_layers=1,
        kernel_size=3,
        subsampling_channels=4,
    )
    config = {
        "model": asdict(shape),
        "transfer": {"objective": "none"},
        "tokens": tokens.fingerprint,
        "teacher_layer": None,
        "training": {"seed": 7},
    }
    exp_dir.mkdir(parents=True)
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        state = {"model": CtcModel(shape).state_dict(), "config": config, "epoch": epoch}
        save_checkpoint(epoch_path(exp_dir, epoch), state)
    write_run(exp_dir, 7)


def write_run(exp_dir, seed):
    run = {"first_epoch": 1, "command": f"local/train.py --training.seed {seed}"}
    run["environment"] = {"commit": "abc123", "torch": "1"}
    write_json(exp_dir / "config.json", {"runs": [run]})


def options_of(data, system="ctc", **options):
    """Command line; keys with underscores of DecodingConfig are options of its group."""
    chosen = {
        "exp-dir": data / "exp" / system,
        "prefix": "toy",
        "fbank-dir": data / "fbank",
        "lang-dir": data / "lang",
        "graph-dir": data / "graphs",
        "splits": "dev",
        **options,
    }
    words = []
    for key, value in chosen.items():
        option = f"--decoding.{key}" if key in DecodingConfig.__dataclass_fields__ else f"--{key}"
        words += [option, *map(str, value if isinstance(value, (list, tuple)) else [value])]
    return words


def decode(data, *more, **options):
    """decode.py in this process, which saves the seconds of its imports."""
    words = [*options_of(data, **options), *map(str, more)]
    return decode_with(decode_script.get_parser().parse_args(words))


def copy_of(data, tmp_path):
    """A copy of an experiment."""
    shutil.copytree(data / "exp" / "ctc", tmp_path / "ctc")
    return tmp_path / "ctc"


def results(data, system="ctc"):
    return json.loads((data / "exp" / system / "results.json").read_text(encoding="utf-8"))


def test_files_and_records(data):
    arguments = options_of(data, methods="all" if k2_available() else METHODS)
    status, _, err = run("decode.py", *arguments, "--avg", 2, "--homophones")
    assert status == 0, err
    assert_ours(err)
    assert not k2_available() or "--teacher" in err and "plm-rescoring" in err
    by_method = {r["method"]: r for r in results(data) if (r["epoch"], r["avg"]) == (2, 2)}
    assert set(by_method) == set(METHODS)
    for method, r in by_method.items():
        folder = data / "exp" / "ctc" / method
        assert {p.name for p in folder.iterdir()} >= {
            f"{kind}-dev-epoch-2-avg-2.txt" for kind in ("recogs", "errs", "cer-summary")
        }
        assert list(r["scores"]) == ["CER"]
        score = r["scores"]["CER"]
        low, high = score["intervals"]["utterance"]
        assert f"[dev-{method}] %CER {score['rate']:.2f}% [" in err
        assert (score["ref_len"], score["num_utterances"], r["seed"]) == (6, 3, 7)
        assert score["rate"] == pytest.approx(
            100 * (score["ins"] + score["del"] + score["sub"]) / 6
        )
        assert low <= score["rate"] <= high
        assert r["rtf_encoder"] > 0 and r["rtf_decoding"] > 0 and r["peak_memory_mb"] > 0
        assert r["environment"]["torch"] == metadata.version("torch")
        assert "decode.py" in r["command"] and r["transfer"] == {"objective": "none"}
        assert r["audio_seconds"] == pytest.approx((8000 + 12000 + 16000) / 16000)
        assert 0 <= score["homophone_sub"] <= score["sub"]
        head, row = (folder / "cer-summary-dev-epoch-2-avg-2.txt").read_text().splitlines()
        numbers = dict(zip(head.split("\t")[1:], map(float, row.split("\t")[1:])))
        assert row.startswith(method + "\t")
        assert numbers == {
            "CER": round(score["rate"], 2),
            "rtf_encoder": round(r["rtf_encoder"], 5),
            "rtf_decoding": round(r["rtf_decoding"], 5),
            "peak_memory_mb": round(r["peak_memory_mb"]),
        }


def test_speakers_are_stored_and_resampled(data, caplog, tmp_path):
    caplog.set_level("INFO")
    decode(data, "--unit", "speaker", "--epoch", 1)
    (line,) = [m for m in caplog.messages if m.startswith("[dev-ctc-greedy-search]")]
    assert "2 speakers" in line and "3 utterances" in line
    path = data / "exp/ctc/ctc-greedy-search/recogs-dev-epoch-1-avg-1.txt"
    assert read_recogs(path).speakers == {"dev0": "s1", "dev1": "s2", "dev2": "s1"}
    (r,) = [r for r in results(data) if (r["epoch"], r["method"]) == (1, "ctc-greedy-search")]
    score = r["scores"]["CER"]
    assert score["num_speakers"] == 2 and set(score["intervals"]) == {"utterance", "speaker"}
    low, high = score["intervals"]["speaker"]
    assert f"{low:.2f} .. {high:.2f}" in line
    output = tmp_path / "RESULTS.md"
    arguments = ("--experiments", "ctc", "--epoch", 1, "--unit", "speaker", "--output", output)
    status, table, err = summarize(data, *arguments)
    assert status == 0, err
    assert f"({low:.2f} .. {high:.2f})" in table
    for text in (table, output.read_text(encoding="utf-8")):
        assert "dev: resampling 2 speakers with their 3 utterances" in text
    with pytest.raises(GmotError, match=r"'train'.*'train0'.*utt2spk"):
        decode(data, "--unit", "speaker", "--epoch", 1, splits="train")


def test_words_and_groups(data, caplog, tmp_path):
    caplog.set_level("INFO")
    groups = tmp_path / "groups"
    groups.write_text("s1 adult\ndev1 child\n")
    options = {"exp-dir": copy_of(data, tmp_path), "scoring": ["words", "characters"]}
    (record,) = decode(data, groups=groups, **options)
    assert list(record["scores"]) == ["WER", "CER"]
    for name, score in record["scores"].items():
        assert list(score["groups"]) == ["adult", "child"]
        adult = score["groups"]["adult"]
        assert (adult["num_utterances"], adult["num_speakers"]) == (2, 1)
        total = sum(score["groups"][group]["ref_len"] for group in score["groups"])
        assert total == score["ref_len"] == {"WER": 3, "CER": 6}[name]
        assert f"[dev-ctc-greedy-search, adult] %{name} {adult['rate']:.2f}% [" in caplog.text
    folder = tmp_path / "ctc" / "ctc-greedy-search"
    assert {path.name.split("-dev")[0] for path in folder.glob("*-dev-epoch-2-avg-1.txt")} == {
        *("recogs", "errs", "errs-cer", "wer-summary", "cer-summary")
    }
    assert read_recogs(folder / "recogs-dev-epoch-2-avg-1.txt").groups == {
        **{"dev0": "adult", "dev1": "child", "dev2": "adult"}
    }
    (tmp_path / "groups").write_text("dev1 child\n")
    (record,) = decode(data, groups=groups, **options)
    assert "2 of 3 utterances of dev" in caplog.text
    assert list(record["scores"]["WER"]["groups"]) == ["child", "other"]
    (tmp_path / "groups").write_text("S0001 adult\n")
    with pytest.raises(GmotError, match=r"'S0001'.*'s1' and 'dev0'.*--groups"):
        decode(data, groups=groups, **options)
    with pytest.raises(GmotError, match=r"--homophones.*words.*characters or mixed"):
        decode(data, "--homophones", **{**options, "scoring": "words"})


def test_a_summary_by_speaker_of_results_without_is_refused(tmp_path):
    r = {**dict(zip(("split", "method", "epoch", "avg"), ("dev", "1best", 3, 1))), "cer": 9.0}
    write_json(tmp_path / "old" / "results.json", [r])
    arguments = ("--exp-dir", tmp_path, "--experiments", "old", "--output", tmp_path / "x.md")
    outcome = run("summarize_results.py", *arguments, "--unit", "speaker")
    message = refused(outcome)
    assert "old/results.json" in message and "dev by 1best" in message and "utt2spk" in message
    assert not (tmp_path / "x.md").exists()


def test_ctc_decoding_writes_what_greedy_search_writes(data):
    pytest.importorskip("k2")
    decode(data, "--decoding.methods", *METHODS)
    texts = [
        (data / "exp" / "ctc" / method / "recogs-dev-epoch-2-avg-1.txt").read_text("utf-8")
        for method in ("ctc-greedy-search", "ctc-decoding")
    ]
    assert texts[0] == texts[1]


def test_results_do_not_depend_on_the_batch(data):
    found = []
    for seconds in (0.6, 100):
        decode(data, "--epoch", 1, **{"max-duration": seconds})
        path = data / "exp" / "ctc" / "ctc-greedy-search" / "recogs-dev-epoch-1-avg-1.txt"
        found.append(path.read_text(encoding="utf-8"))
    assert found[0] == found[1]
    assert re.search(r"hyp=\['", found[0])  # it said something


def test_scales_are_found_on_dev_and_used_elsewhere(data):
    """The training split takes the role of the test split."""
    pytest.importorskip("k2")
    options = dict(methods=METHODS, hlg_scale=[0.1, 0.7], num_paths=20)
    status, _, err = run("decode.py", *options_of(data, splits=["train", "dev"], **options))
    assert status == 0, err
    kept = json.loads((data / "exp" / "ctc" / "scales.json").read_text(encoding="utf-8"))
    assert kept["split"] == "dev"
    scales = {(r["split"], r["method"]): r["scales"] for r in results(data)}
    for method in ("nbest-rescoring", "whole-lattice-rescoring"):
        assert scales["dev", method] == scales["train", method]
        hlg = kept["scales"]["hlg"]["graph"]
        assert scales["dev", method] == {"hlg": hlg, **kept["scales"][method]}
        told = re.search(f"{method}: no LM scales .* dev", err) is not None
        assert told == ("graph" in kept["scales"][method])
    assert scales["dev", "1best"]["hlg"] in (0.1, 0.7)
    assert scales["dev", "ctc-greedy-search"] == {}
    # Later, without dev: the same scales give the same texts.
    path = data / "exp/ctc/whole-lattice-rescoring/recogs-train-epoch-2-avg-1.txt"
    before = path.read_text(encoding="utf-8")
    path.unlink()
    decode(data, splits="train", **options)
    assert path.read_text(encoding="utf-8") == before


def test_scales_of_another_run_are_refused(data, tmp_path):
    pytest.importorskip("k2")
    exp_dir = copy_of(data, tmp_path)
    (exp_dir / "scales.json").unlink(missing_ok=True)
    options = {"exp-dir": exp_dir, "splits": "train", "methods": "whole-lattice-rescoring"}
    with pytest.raises(GmotError, match=r"scales.json.*--splits dev"):
        decode(data, **options)
    decode(data, **{**options, "splits": "dev"})
    decode(data, **options)
    kept = json.loads((exp_dir / "scales.json").read_text(encoding="utf-8"))
    for facts in kept["found_with"].values():
        assert facts.pop("scoring") == "CER"
    write_json(exp_dir / "scales.json", kept)  # as older versions wrote it
    decode(data, **options)
    with pytest.raises(GmotError, match=r"scoring CER there, WER here"):
        decode(data, **options, scoring=["words"])
    with pytest.raises(GmotError, match=r"model \w+ there, \w+ here .whole-lattice-rescoring"):
        decode(data, "--epoch", 1, **options)
    graphs = tmp_path / "graphs"
    shutil.copytree(data / "graphs", graphs)
    arguments = ("--lang-dir", data / "lang", "--arpa", data / "G.arpa")
    arguments += ("--rescore-arpa", data / "G.arpa", "--graph-dir", graphs, "--topology", "full")
    assert run("compile_graphs.py", *arguments)[0] == 0
    with pytest.raises(GmotError, match=r"HLG.pt \w+ there.*G.pt \w+ there"):
        decode(data, **{**options, "graph-dir": graphs})
    with pytest.raises(GmotError, match="nbest-rescoring"):
        decode(data, **{**options, "methods": "nbest-rescoring"})


@pytest.fixture(scope="module")
def scaled(data, tmp_path_factory):
    """Options of an experiment with scales.json for two rescoring methods."""
    pytest.importorskip("k2")
    folder = tmp_path_factory.mktemp("scaled")
    for name, layers in (("teacher", 1), ("other", 2)):
        pieces = ["今", "天", "好", "气"]
        save_small_bert(folder / name, pieces, "BertForMaskedLM", num_hidden_layers=layers)
    options = {"exp-dir": copy_of(data, folder), "teacher": folder / "teacher"}
    options.update(methods=["nbest-rescoring", "plm-rescoring"], num_paths=20)
    decode(data, **options)
    decode(data, **{**options, "splits": "train"})
    return {**options, "splits": "train"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"num_paths": 7}, ["num_paths 20 there, 7 here"]),
        ({"nbest_scale": 0.25}, ["nbest_scale 0.5 there, 0.25 here"]),
        ({"num_plm_paths": 3}, ["num_plm_paths 20 there, 3 here (plm-rescoring)"]),
        ({"search_memory": 3}, ["search_memory 6.0 there, 3.0 here"]),
        (
            {"max_active_states": 9},
            ["max_active_states 10000 there, 9 here", "min_active_states 30 there, 8 here"],
        ),
        ({"search_beam": 10, "output_beam": 4}, ["search_beam 20.0", "output_beam 8.0 there, 4.0"]),
        ({"hlg_scale": 0.5}, ["hlg_scale 0.6 there, 0.5 here (nbest-rescoring, plm-rescoring)"]),
        ({"hlg_scale": [0.5, 0.6]}, ["candidates [0.6] there, [0.5, 0.6] here (hlg)"]),
        ({"scale_split": "eval"}, ["split dev there, eval here"]),
        ({"teacher": "other"}, ["masked language model"]),
    ],
)
def test_scales_found_with_other_settings_are_refused(data, scaled, more, told):
    """The error names every field that differs, with both values."""
    if "teacher" in more:
        more = {"teacher": scaled["teacher"].parent / more["teacher"]}
    with pytest.raises(GmotError) as error:
        decode(data, **{**scaled, **more})
    message = str(error.value)
    assert all(part in message for part in told), message
    assert message.count(" there, ") == len(told) and "\n" not in message
    assert f"--splits {more.get('scale_split', 'dev')}" in message


def test_scales_of_other_utterances_are_refused(data, scaled, tmp_path):
    """The split was prepared anew; if it is missing, that cannot be known."""
    fbank = tmp_path / "fbank"
    shutil.copytree(data / "fbank", fbank)
    (cuts,) = fbank.glob("toy_cuts_dev.jsonl*")
    opened = gzip.open if cuts.suffix == ".gz" else open
    with opened(cuts, "rt", encoding="utf-8") as f:
        text = f.read()
    with opened(cuts, "wt", encoding="utf-8") as f:
        f.write(text.replace("好天气", "好天"))
    options = {**scaled, "fbank-dir": fbank}
    with pytest.raises(GmotError, match=r"utterances \w+ there, \w+ here"):
        decode(data, **options)
    cuts.unlink()
    decode(data, **options)


def test_damaged_files_of_scales_are_refused(data, tmp_path):
    pytest.importorskip("k2")
    exp_dir = copy_of(data, tmp_path)
    options = {"exp-dir": exp_dir, "splits": "train", "methods": "nbest-rescoring"}
    for kept in ([], {"scales": {}}, {"scales": {"hlg": 1}, "found_with": {"hlg": {}}}):
        write_json(exp_dir / "scales.json", kept)
        with pytest.raises(GmotError, match="scales.json.*--splits dev"):
            decode(data, **options)


def test_what_a_search_used_stands_in_the_results(data, tmp_path):
    """Settings, graphs, and utterances searched with fewer states, whatever the batches."""
    pytest.importorskip("k2")
    options = {"exp-dir": copy_of(data, tmp_path)}
    options["methods"] = ["1best", "nbest", "ctc-decoding", "ctc-greedy-search"]
    found = []
    for memory, seconds in ((6, 100), (6e-4, 100), (6e-4, 0.6), (6e-4, 1.3)):
        more = {"search_memory": memory, "max-duration": seconds}
        found.append({r["method"]: r for r in decode(data, **options, **more)})
    for records, reduced in zip(found, (0, 3, 3, 3)):
        for name in ("1best", "nbest"):
            record = records[name]
            assert record["num_beam_reduced"] == reduced
            assert set(record["graphs"]) == {"HLG.pt"}
            assert record["graphs"]["HLG.pt"]["topology"] == "modified"
            assert record["search"]["max_active_states"] == 10000
        assert records["nbest"]["num_pruned"] == 0 and "num_pruned" not in records["1best"]
        assert records["ctc-decoding"]["graphs"]["H.pt"]["topology"] == "modified"
        assert records["ctc-greedy-search"]["graphs"] == {}
        assert "num_beam_reduced" not in records["ctc-greedy-search"]
    assert [r["1best"]["search"]["search_memory"] for r in found] == [6, 6e-4, 6e-4, 6e-4]
    assert found[0]["1best"]["least_max_active_states"] is None
    least = [r["1best"]["least_max_active_states"] for r in found[1:]]
    assert least == [least[0]] * 3 and 2 <= least[0] < 10000
    for records in found[2:]:  # of other batches
        assert [records["nbest"]["scores"]["CER"][k] for k in ("ins", "del", "sub")] == [
            found[1]["nbest"]["scores"]["CER"][k] for k in ("ins", "del", "sub")
        ]


def test_plm_rescoring_asks_for_a_teacher(data):
    pytest.importorskip("k2")
    with pytest.raises(GmotError, match="plm-rescoring.*--teacher"):
        decode(data, methods="plm-rescoring")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 9}, "9"),
        ({"avg": 3}, "--avg 3"),
        ({"methods": "beam-search"}, "beam-search.*ctc-greedy-search"),
        ({"splits": "nowhere"}, "nowhere"),
        ({"lang-dir": "/nowhere"}, "tokens.txt"),
        ({"exp-dir": "/nowhere"}, "/nowhere"),
    ],
)
def test_bad_options_are_refused(data, options, message):
    with pytest.raises(GmotError, match=message):
        decode(data, **options)


def test_another_lang_folder_is_refused(data, tmp_path):
    TokenTable.from_pieces("今天好气").save(tmp_path / "same/tokens.txt")
    decode(data, **{"lang-dir": tmp_path / "same"})
    TokenTable.from_pieces("甲乙丙丁").save(tmp_path / "other/tokens.txt")
    with pytest.raises(GmotError, match="other: tokens"):
        decode(data, **{"lang-dir": tmp_path / "other"})


@pytest.mark.skipif(k2_available(), reason="k2 is installed")
def test_graph_methods_without_k2_are_left_out_or_refused(data):
    message = refused(run("decode.py", *options_of(data, methods="ctc-decoding")))
    assert "k2" in message and "ctc-greedy-search" in message
    assert [r["method"] for r in decode(data, methods="all")] == WITHOUT_K2


def summarize(data, *arguments):
    if "--output" not in arguments:
        arguments = (*arguments, "--output", data / "unused.md")
    return run("summarize_results.py", "--exp-dir", data / "exp", *arguments)


def test_summary(data, tmp_path):
    for system in ("ctc", "gm_ot"):
        decode(data, "--avg", 2, system=system)
    output = tmp_path / "RESULTS.md"
    arguments = ("--experiments", "gm_ot", "ctc", "--avg", 2, "--output", output, "--title", "Toy")
    status, table, err = summarize(data, *arguments)
    assert status == 0, err
    title, _, *lines = table.splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert title == "### CER" and rows[0] == ["decoding", "experiment", "dev"]
    greedy = {row[1]: row[2] for row in rows if row[0] == "ctc-greedy-search"}
    assert list(greedy) == ["gm_ot", "ctc"]
    for system, cell in greedy.items():
        r = next(
            r
            for r in results(data, system)
            if r["avg"] == 2 and (r["method"], r["split"]) == ("ctc-greedy-search", "dev")
        )
        score = r["scores"]["CER"]
        low, high = score["intervals"]["utterance"]
        assert cell == f"{score['rate']:.2f} ({low:.2f} .. {high:.2f})"
    text = output.read_text(encoding="utf-8")
    assert text.startswith("# Toy\n") and table.strip() in text
    for fact in (
        "### gm_ot",
        "local/train.py --training.seed 7",
        "commit abc123",
        "seed 7",
        "decoded by",
    ):
        assert fact in text
    compared = run(
        "compare_results.py", "--exp-dirs", data / "exp/ctc", data / "exp/gm_ot",
        "--split", "dev", "--method", "ctc-greedy-search", "--avg", 2,
    )  # fmt: skip
    assert compared[0] == 0, compared[2]
    assert compared[1].splitlines()[0].startswith(f"ctc: %CER {greedy['ctc'].split()[0]} (")
    assert "resampling 3 utterances of 2 speakers" in text
    assert text.index("## Measured") < text.index("## Speed") < text.index("## Details")


def test_speed_scales_and_homophones_are_shown(tmp_path):
    """Times are added up over splits; some fields are optional."""
    earlier = {
        **dict(zip(("split", "method", "epoch", "avg"), ("dev", "1best", 3, 1))),
        **dict(zip(("cer", "ci_low", "ci_high", "ins", "del", "sub"), (9.0, 8.0, 10.0, 1, 2, 3))),
        **{"ref_len": 60, "num_utterances": 5, "num_empty": 0, "device": "cpu, 1 threads"},
        **{"rtf_encoder": 0.25, "rtf_decoding": 0.5, "peak_memory_mb": 700.0},
        **{"audio_seconds": 30, "intervals": {"utterance": [8.0, 10.0]}},
    }
    now = {**earlier, "homophone_sub": 2, "scales": {"hlg": 0.5, "lm": 0.25}}
    test = {"split": "test", "rtf_encoder": 0.5, "audio_seconds": 10, "peak_memory_mb": 900.0}
    test["graphs"] = {"HLG.pt": {"topology": "full", "fingerprint": "f"}}
    test["search"] = {"max_active_states": 10000, "search_memory": 0.5}
    test.update(num_beam_reduced=3, least_max_active_states=77, num_pruned=2)
    write_json(tmp_path / "old" / "results.json", [earlier])
    write_json(tmp_path / "new" / "results.json", [now, {**now, **test, "scales": {}}])
    output = tmp_path / "RESULTS.md"
    arguments = ("--exp-dir", tmp_path, "--experiments", "old", "new", "--output", output)
    status, table, err = run("summarize_results.py", *arguments)
    assert status == 0, err
    text = output.read_text(encoding="utf-8")
    speed = text[text.index("## Speed") : text.index("## Details")]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in speed.splitlines()]
    rows = [row for row in rows if len(row) > 1]
    assert rows[0][2:] == ["RTF encoder", "RTF decoding", "peak memory", "device"]
    assert rows[2:] == [
        ["1best", "old", "0.25000", "0.50000", "700 MB", "cpu, 1 threads"],
        # (30 s x 0.25 + 10 s x 0.5) / 40 s
        ["1best", "new", "0.31250", "0.50000", "900 MB", "cpu, 1 threads"],
    ]
    old, dev, other = (line for line in text.splitlines() if "1 ins, 2 del" in line)
    assert "3 sub, of 60" in old and old.endswith("700 MB")
    assert "3 sub (2 of them homophones), of 60" in dev
    assert dev.endswith("700 MB; scales: hlg 0.5, lm 0.25")
    assert other.endswith(
        "900 MB; HLG.pt full; 3 utterances searched with fewer active states than 10000 "
        "(at least 77; 0.5 GB); 2 lattices pruned"
    )


def test_summary_shows_what_was_decoded_last(data, tmp_path):
    """Not the highest epoch, nor the best; --epoch and --avg choose another."""
    output = tmp_path / "RESULTS.md"

    def averaged(*arguments):
        assert summarize(data, "--experiments", "ctc", "--output", output, *arguments)[0] == 0
        return re.search("- epochs (.*) averaged", output.read_text(encoding="utf-8")).group(1)

    for options, expected in (
        (("--epoch", 2, "--avg", 2), "1 to 2"),
        (("--epoch", 2, "--avg", 1), "2 to 2"),
        (("--epoch", 1, "--avg", 1), "1 to 1"),
        (("--epoch", 2, "--avg", 1), "2 to 2"),
    ):
        decode(data, *options)
        assert averaged() == expected
    assert averaged("--epoch", 1) == "1 to 1"
    assert averaged("--avg", 2) == "1 to 2"


def test_results_of_an_earlier_training_are_not_shown(data, tmp_path):
    """The same folder, trained by another command."""
    exp_dir = copy_of(data, tmp_path)
    (exp_dir / "results.json").unlink(missing_ok=True)
    options = {"exp-dir": exp_dir}
    decode(data, "--epoch", 2, **options)
    write_run(exp_dir, 8)
    decode(data, "--epoch", 1, **options)
    records = json.loads((exp_dir / "results.json").read_text(encoding="utf-8"))
    commands = [[run["command"] for run in r["training"]["runs"]] for r in records]
    assert (records[0]["epoch"], commands) == (1, [["local/train.py --training.seed 8"]])


def test_features_of_another_width_are_refused(data, tmp_path):
    fbank = tmp_path / "fbank"
    common = ("--prefix", "toy", "--splits", "dev", "--manifest-dir", data / "manifests")
    status, _, err = run("compute_fbank.py", *common, "--fbank-dir", fbank, "--num-mel-bins", 40)
    assert status == 0, err
    with pytest.raises(GmotError, match="'dev'.* 40 .* 20.*--fbank-dir"):
        decode(data, **{"fbank-dir": fbank})


def test_summary_of_missing_systems_is_refused(data):
    message = refused(summarize(data, "--experiments", "ctc", "tot"))
    assert "'tot'" in message and "ctc" in message
    assert "--epoch 8" in refused(summarize(data, "--experiments", "ctc", "--epoch", 8))
