"""Groups of utterances: their file, scores, tables and comparisons."""

import re

import pytest

from gmot.common import GmotError, write_json
from gmot.evaluation.comparison import compare, compare_all
from gmot.evaluation.comparison_report import console_lines, write_tables
from gmot.evaluation.files import read_recogs, read_results, write_recogs
from gmot.evaluation.groups import group_utterances, ordered, read_groups
from gmot.evaluation.report import summarize
from gmot.evaluation.runs import read_experiments, scored_metrics
from gmot.evaluation.scoring import score, score_groups
from gmot.text.scoring_units import CER, WER

REFS = {"a1": "the cat", "a2": "a dog sat", "b1": "don't go", "c1": "yes"}
HYPS = {"a1": "the cat", "a2": "a fog sat", "b1": "don’t", "c1": ""}
SPEAKERS = {"a1": "ann", "a2": "ann", "b1": "bob", "c1": "cid"}
GROUPS = {"a1": "adult", "a2": "adult", "b1": "child", "c1": "other"}


def groups_file(tmp_path, text="ann adult\nb1 child\n"):
    path = tmp_path / "groups"
    path.write_text(text, encoding="utf-8")
    return path


def test_speakers_and_utterances_have_groups_and_the_rest_is_told(tmp_path, caplog):
    path = groups_file(tmp_path, "ann adult\n\nb1 child\nbob adult\nb1 child\n")
    found = group_utterances(read_groups(path), {"test": SPEAKERS, "dev": {"a9": "ann"}}, path)
    assert found == {"test": GROUPS, "dev": {"a9": "adult"}}
    assert "1 of 4 utterances of test" in caplog.text and "of dev" not in caplog.text
    assert ordered(GROUPS.values()) == ["adult", "child", "other"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ann adult\nbob\n", "line 2.*'bob'.*speaker-or-utterance group"),
        ("ann adult female\n", "line 1.*'ann adult female'"),
        ("ann adult\nann child\n", "line 2.*'ann'.*'adult'.*'child'"),
        ("\n", "empty"),
    ],
)
def test_broken_files_are_refused(tmp_path, content, message):
    path = groups_file(tmp_path, content)
    with pytest.raises(GmotError, match=f"{path}.*{message}"):
        read_groups(path)


def test_missing_and_binary_files_and_those_of_another_corpus_are_refused(tmp_path):
    with pytest.raises(GmotError, match="none"):
        read_groups(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GmotError, match="binary.*UTF-8"):
        read_groups(tmp_path / "binary")
    with pytest.raises(GmotError, match="such as 'S0001'.*test.*'ann' and 'a1'.*--groups"):
        group_utterances({"S0001": "adult"}, {"test": SPEAKERS}, "groups")


def test_counts_of_groups_add_up():
    result = score(REFS, HYPS, speakers=SPEAKERS, metric=WER)
    groups = score_groups(result, GROUPS, SPEAKERS)
    assert list(groups) == ["adult", "child", "other"]
    assert {name: (g.errors, g.ref_len, g.num_empty) for name, g in groups.items()} == {
        "adult": (1, 5, 0), "child": (1, 2, 0), "other": (1, 1, 1),
    }  # fmt: skip
    assert (result.errors, result.ref_len) == (3, 8)
    assert groups["adult"].rate == 20 and groups["adult"].num_speakers == 1
    only = {u: REFS[u] for u in ("a1", "a2")}
    alone = score(only, {u: HYPS[u] for u in only}, speakers=SPEAKERS, metric=WER)
    assert groups["adult"] == alone
    # One speaker: an interval by utterance, which is told.
    assert "2 utterances of 1 speaker;" in groups["adult"].line("test, adult", "speaker")


def test_a_group_without_reference_text_has_no_score(caplog):
    result = score({"u": "a", "v": ""}, {"u": "a", "v": "b"})
    assert list(score_groups(result, {"u": "x", "v": "y"})) == ["x"]
    assert "'y'" in caplog.text


def record(hyps=HYPS, metrics=(WER, CER), **more):
    scores = {}
    for metric in metrics:
        result = score(REFS, hyps, speakers=SPEAKERS, metric=metric)
        groups = {g: s.record() for g, s in score_groups(result, GROUPS, SPEAKERS).items()}
        scores[metric.name] = {**result.record(), "groups": groups}
    return {
        **{"split": "test", "method": "1best", "epoch": 8, "avg": 3, "scores": scores},
        **{"audio_seconds": 60, "rtf_encoder": 0.1, "rtf_decoding": 0.5, "device": "cpu"},
        **{"peak_memory_mb": 700.0, **more},
    }


OLD = {
    **{"split": "test", "method": "1best", "epoch": 8, "avg": 3, "cer": 12.5, "ci_low": 10.0},
    **{"ci_high": 15.0, "intervals": {"utterance": [10.0, 15.0]}, "ins": 1, "del": 2, "sub": 3},
    **{"ref_len": 48, "num_utterances": 4, "num_speakers": 3, "num_empty": 0, "homophone_sub": 2},
    **{"audio_seconds": 60, "rtf_encoder": 0.1, "rtf_decoding": 0.5, "device": "cpu"},
    **{"peak_memory_mb": 700.0},
}


def tables(text):
    """Title -> rows of the tables of a Markdown text."""
    found, rows = {}, []
    for line in text.splitlines():
        if line.startswith("### "):
            rows = found.setdefault(line.removeprefix("### "), [])
        elif line.startswith("| "):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_a_table_for_each_metric_and_group_beside_older_results(tmp_path):
    write_json(tmp_path / "new" / "results.json", [record()])
    write_json(tmp_path / "old" / "results.json", [OLD])
    output = tmp_path / "RESULTS.md"
    printed = summarize(tmp_path, ["new", "old"], None, None, output, "Title")
    found = tables(printed)
    assert list(found) == [
        "WER", "WER, adult", "WER, child", "WER, other", "CER", "CER, adult", "CER, child",
        "CER, other",
    ]  # fmt: skip
    assert [row[:2] for row in found["CER"][2:]] == [["1best", "new"], ["1best", "old"]]
    assert found["CER"][3][2] == "12.50 (10.00 .. 15.00)"
    assert [row[1] for row in found["WER"][2:]] == ["new"]
    assert found["WER"][2][2].startswith("37.50 (")
    assert found["WER, adult"][2][2].startswith("20.00 (")
    assert "- 95% intervals of test, adult: resampling 2 utterances of 1 speaker" in printed
    text = output.read_text(encoding="utf-8")
    assert "Word error rate (WER), character error rate (CER) in per cent" in text
    assert "WER: 0 ins, 2 del, 1 sub, of 8 words in 4 utterances, 1 without output; CER: " in text
    assert "CER: 1 ins, 2 del, 3 sub (2 of them homophones), of 48 characters" in text


def test_older_results_are_read_as_scores_of_the_cer(tmp_path):
    write_json(tmp_path / "results.json", [OLD])
    (found,) = read_results(tmp_path / "results.json")
    assert found["scores"]["CER"] == {
        **{k: OLD[k] for k in ("intervals", "ins", "del", "sub", "ref_len", "num_utterances")},
        **{"rate": 12.5, "num_speakers": 3, "num_empty": 0, "homophone_sub": 2},
    }
    assert found["audio_seconds"] == 60 and "cer" not in found


def test_seeds_have_a_spread_in_each_table(tmp_path):
    for seed, hyps in ((1, HYPS), (2, {**HYPS, "a2": "the fog sat"})):
        write_json(tmp_path / f"x_seed{seed}" / "results.json", [record(hyps, seed=seed)])
    printed = summarize(tmp_path, ["x_seed1", "x_seed2"], None, None, tmp_path / "R.md", "Title")
    assert tables(printed)["WER, adult"][2][1:] == ["x (2 seeds)", "30.00 ± 14.14"]
    assert re.search(r"deviation of test, adult over 2 .* 2 utterances of 1 speaker", printed)


@pytest.fixture
def recogs(tmp_path):
    """Recogs files of two experiments with groups."""
    paths = []
    for name, hyps in (("a", HYPS), ("b", {**HYPS, "a2": "a dog sat"})):
        paths.append(tmp_path / name / "1best" / "recogs-test-epoch-8-avg-3.txt")
        write_recogs(paths[-1], REFS, hyps, SPEAKERS, GROUPS)
        write_json(tmp_path / name / "results.json", [record(hyps)])
    return paths


def test_recogs_keep_words_speakers_and_groups(recogs):
    found = read_recogs(recogs[0])
    assert found.refs["b1"] == "DON'T GO" and found.hyps["a2"] == "A FOG SAT"
    assert found.speakers == SPEAKERS and found.groups == GROUPS


def test_groups_are_compared_by_each_metric(recogs, tmp_path):
    runs = read_experiments([[path] for path in recogs])
    found = compare_all(runs, [WER, CER], replications=200)
    assert [c.title for c in found] == [
        f"{m}{g}" for m in ("WER", "CER") for g in ("", ", adult", ", child", ", other")
    ]
    everybody, adult, child, _ = (c.experiments[1] for c in found[:4])
    assert everybody.difference == pytest.approx(-100 / 8)
    assert adult.difference == pytest.approx(-20) and child.difference == 0
    assert found[0] == compare(runs, replications=200, metric=WER)
    first, second, how = console_lines(found[1])
    assert first.startswith("[adult] a: %WER 20.00 (") and "-20.00" in second
    assert "2 utterances of 1 speaker" in how
    write_tables(tmp_path / "t.md", found, "how")
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert text.index("## WER\n") < text.index("## WER, adult\n") < text.index("## CER\n")
    assert "over 5 words of 2 utterances" in text and text.endswith("how\n")


def test_a_group_of_one_speaker_is_not_resampled_by_speaker(recogs, caplog):
    runs = read_experiments([[path] for path in recogs])
    found = compare_all(runs, [WER], "speaker", replications=200)
    assert [c.title for c in found] == ["WER"]
    assert "group 'adult'" in caplog.text and "--unit utterance" in caplog.text


def test_metrics_of_the_comparison_are_those_scored(tmp_path, recogs):
    folders = [tmp_path / "a", tmp_path / "b"]
    assert scored_metrics(folders, "test", "1best") == [WER, CER]
    write_json(tmp_path / "b" / "results.json", [OLD])
    assert scored_metrics(folders, "test", "1best") == [CER]
    write_json(tmp_path / "a" / "results.json", [record(metrics=[WER])])
    with pytest.raises(GmotError, match="a: WER; .*b: CER.*--scoring"):
        scored_metrics(folders, "test", "1best")
