import json
import random

import kaldialign
import pytest

from gmot.common import GmotError
from gmot.scoring import (
    read_results,
    score,
    update_results,
    write_errs,
    write_recogs,
    write_result_files,
    write_summary,
)


def distance(a, b):
    """Levenshtein distance by the textbook recursion, a row at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def random_texts(seed, num=40, alphabet="abcd"):
    rng = random.Random(seed)
    return {f"u{i}": "".join(rng.choices(alphabet, k=rng.randint(0, 9))) for i in range(num)}


def test_counts_are_those_of_dynamic_programming():
    refs, hyps = random_texts(0), random_texts(1)
    result = score(refs, hyps)
    assert result.errors == sum(distance(refs[u], hyps[u]) for u in refs)
    assert result.ref_len == sum(map(len, refs.values()))
    assert result.cer == pytest.approx(100 * result.errors / result.ref_len)
    # Whatever the alignment, lengths differ by insertions less deletions.
    assert result.ins - result.dels == sum(map(len, hyps.values())) - result.ref_len
    assert result.num_utterances == 40
    assert result.num_empty == sum(bool(refs[u]) and not hyps[u] for u in refs)


def test_by_hand():
    result = score({"a": "今天 天气<unk>", "b": "好"}, {"b": "", "a": "今天气啊<unk>啦"})
    assert (result.ins, result.dels, result.sub) == (1, 1, 2) or result.errors == 4
    assert result.ref_len == 6
    assert result.num_empty == 1


def test_spaces_do_not_count_and_exact_text_has_no_errors():
    result = score({"a": "AB 中国"}, {"a": "A B中 国"})
    assert (result.cer, result.ci_low, result.ci_high) == (0.0, 0.0, 0.0)


def test_interval_is_seeded_holds_the_rate_and_agrees_with_kaldialign():
    refs = random_texts(0, num=400)
    hyps = {u: t if i % 3 else t[1:] + "x" for i, (u, t) in enumerate(refs.items())}
    result = score(refs, hyps, replications=2000, seed=5)
    assert result == score(refs, hyps, replications=2000, seed=5)
    assert result.ci_low < result.cer < result.ci_high
    names = sorted(refs)
    peer = kaldialign.bootstrap_wer_ci([refs[n] for n in names], [hyps[n] for n in names])
    assert result.ci_low == pytest.approx(100 * peer["ci95min"], rel=0.05)
    assert result.ci_high == pytest.approx(100 * peer["ci95max"], rel=0.05)


def test_order_of_utterances_does_not_matter():
    refs, hyps = random_texts(0), random_texts(1)
    backwards = dict(reversed(list(refs.items())))
    assert score(refs, hyps) == score(backwards, hyps)


@pytest.mark.parametrize("hyps", [{}, {"a": "x"}, {"a": "x", "b": "y", "c": "z"}])
def test_other_utterances_are_refused(hyps):
    with pytest.raises(GmotError, match="different utterances"):
        score({"a": "x", "b": "y"}, hyps)


@pytest.mark.parametrize("refs", [{}, {"a": ""}, {"a": " "}])
def test_nothing_to_score_is_refused(refs):
    with pytest.raises(GmotError, match="no reference characters"):
        score(refs, dict.fromkeys(refs, "x"))


REFS = {"u1": "今天天气好", "u2": "你好<unk>"}
HYPS = {"u1": "今天气很好", "u2": "你好"}


def test_recogs_file(tmp_path):
    write_recogs(tmp_path / "recogs.txt", REFS, HYPS)
    assert (tmp_path / "recogs.txt").read_text(encoding="utf-8").splitlines() == [
        "u1:\tref=['今', '天', '天', '气', '好']",
        "u1:\thyp=['今', '天', '气', '很', '好']",
        "u2:\tref=['你', '好', '<unk>']",
        "u2:\thyp=['你', '好']",
    ]


def test_errs_file(tmp_path):
    result = score({"u1": "abcde*", "u2": "你好<unk>"}, {"u1": "xycdef", "u2": "你好"})
    write_errs(tmp_path / "errs.txt", result)
    text = (tmp_path / "errs.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == "%CER = 44.44"
    assert lines[1] == (
        "Errors: 0 insertions, 1 deletions, 3 substitutions, over 9 reference characters "
        "(5 correct)"
    )
    assert "u1:\t(a b->x y) c d e (*->f)" in lines
    assert "u2:\t你 好 (<unk>->*)" in lines
    sections = ["PER-UTT DETAILS", "SUBSTITUTIONS", "DELETIONS", "INSERTIONS", "PER-WORD STATS"]
    starts = [lines.index(next(x for x in lines[3:] if x.startswith(s + ":"))) for s in sections]
    assert starts == sorted(starts)
    assert "1   b -> y" in lines[starts[1] : starts[2]]
    assert lines[starts[2] + 1] == "1   <unk>"
    # word, correct, errors, in references, in hypotheses
    assert "<unk>   0 1 1 0" in lines[starts[4] :]
    assert "你   1 0 1 1" in lines[starts[4] :]


def test_summary_file_has_the_best_first(tmp_path):
    write_summary(tmp_path / "cer.txt", {"a": 5.0, "b": 4.126})
    assert (tmp_path / "cer.txt").read_text() == "settings\tCER\nb\t4.13\na\t5.00\n"


def test_result_files_and_console_line(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = tmp_path / "ctc-greedy-search"
    result = write_result_files(folder, "test", "epoch-3-avg-2", REFS, HYPS)
    assert sorted(p.name for p in folder.iterdir()) == [
        "cer-summary-test-epoch-3-avg-2.txt",
        "errs-test-epoch-3-avg-2.txt",
        "recogs-test-epoch-3-avg-2.txt",
    ]
    assert "[test-ctc-greedy-search] %CER 37.50% [3 / 8, " in caplog.text
    assert json.loads(json.dumps(result.record()))["del"] == result.dels


def record(part="test", cer=1.0, **more):
    return {"part": part, "method": "1best", "epoch": 1, "avg": 1, "cer": cer, **more}


def test_results_are_replaced_by_key(tmp_path):
    path = tmp_path / "results.json"
    update_results(path, [record("test", 3.0), record("dev", 2.0)])
    update_results(path, [record("test", 1.5)])
    update_results(path, [record("test", 1.0, avg=2)])
    found = {(r["part"], r["avg"]): r["cer"] for r in read_results(path)}
    assert found == {("dev", 1): 2.0, ("test", 1): 1.5, ("test", 2): 1.0}


def test_the_newest_results_come_last(tmp_path):
    path = tmp_path / "results.json"
    update_results(path, [record("test", epoch=9), record("dev", epoch=9)])
    update_results(path, [record("dev", epoch=2)])
    assert [(r["part"], r["epoch"]) for r in read_results(path)] == [
        ("test", 9), ("dev", 9), ("dev", 2),
    ]  # fmt: skip
    update_results(path, [record("test", epoch=9)])
    assert [(r["part"], r["epoch"]) for r in read_results(path)] == [
        ("dev", 9), ("dev", 2), ("test", 9),
    ]  # fmt: skip


def test_results_of_another_training_are_dropped(tmp_path):
    path = tmp_path / "results.json"
    first = {"command": "train --seed 1", "environment": {"commit": "a"}}
    update_results(path, [record("dev", epoch=9, training=first)])
    update_results(path, [record("test", epoch=9, training=dict(first))])
    assert [r["part"] for r in read_results(path)] == ["dev", "test"]
    second = {"command": "train --seed 1", "environment": {"commit": "b"}}
    update_results(path, [record("dev", epoch=1, training=second)])
    assert [(r["epoch"], r["training"]) for r in read_results(path)] == [(1, second)]


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"part": "dev"}]', "not json"])
def test_broken_results_are_refused(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(GmotError, match=r"results\.json"):
        update_results(tmp_path / "results.json", [record()])
