import json
import random

import kaldialign
import pytest

from gmot.common import GmotError
from gmot.evaluation.files import (
    read_recogs,
    read_results,
    update_results,
    write_errs,
    write_recogs,
    write_summary,
)
from gmot.evaluation.homophones import count_homophones
from gmot.evaluation.scoring import score
from gmot.text.scoring_units import WER


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
    assert result.rate == pytest.approx(100 * result.errors / result.ref_len)
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
    assert result.rate == 0.0 and result.intervals == {"utterance": (0.0, 0.0)}


def test_interval_is_seeded_holds_the_rate_and_agrees_with_kaldialign():
    refs = random_texts(0, num=400)
    hyps = {u: t if i % 3 else t[1:] + "x" for i, (u, t) in enumerate(refs.items())}
    result = score(refs, hyps, replications=2000, seed=5)
    assert result == score(refs, hyps, replications=2000, seed=5)
    low, high = result.intervals["utterance"]
    assert low < result.rate < high
    names = sorted(refs)
    peer = kaldialign.bootstrap_wer_ci([refs[n] for n in names], [hyps[n] for n in names])
    assert low == pytest.approx(100 * peer["ci95min"], rel=0.05)
    assert high == pytest.approx(100 * peer["ci95max"], rel=0.05)


def test_order_of_utterances_does_not_matter():
    refs, hyps = random_texts(0), random_texts(1)
    backwards = dict(reversed(list(refs.items())))
    assert score(refs, hyps) == score(backwards, hyps)


@pytest.mark.parametrize("hyps", [{}, {"a": "x"}, {"a": "x", "b": "y", "c": "z"}])
def test_other_utterances_are_refused(hyps):
    with pytest.raises(GmotError, match="'a'|'b'|'c'"):
        score({"a": "x", "b": "y"}, hyps)


@pytest.mark.parametrize("refs", [{}, {"a": ""}, {"a": " "}])
def test_nothing_to_score_is_refused(refs):
    with pytest.raises(GmotError, match="reference"):
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


def test_recogs_are_read_as_they_were_written(tmp_path):
    refs = {**REFS, "a:b": 'X,Y"Z', "no text": "", "u9": "A B"}
    hyps = {**HYPS, "a:b": "\\", "no text": "<unk>", "u9": ""}
    write_recogs(tmp_path / "recogs.txt", refs, hyps)
    assert read_recogs(tmp_path / "recogs.txt") == ({**refs, "u9": "A B"}, hyps, {}, {})


def test_recogs_hold_speakers(tmp_path):
    path = tmp_path / "recogs.txt"
    speakers = {"u1": "S'1]", "u2": None}
    write_recogs(path, REFS, HYPS, speakers)
    assert read_recogs(path) == (REFS, HYPS, {"u1": "S'1]"}, {})
    path.write_text(path.read_text(encoding="utf-8") + "u9:\tspk=['S']\n", encoding="utf-8")
    with pytest.raises(GmotError, match="1 .*'u9'"):
        read_recogs(path)


def test_icefalls_recogs_of_words_are_read(tmp_path):
    text = "u1:\tref=['今天', '好']\nu1:\thyp=['今', '天']\n"
    (tmp_path / "recogs.txt").write_text(text, encoding="utf-8")
    assert read_recogs(tmp_path / "recogs.txt") == ({"u1": "今天好"}, {"u1": "今天"}, {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("u1 hello\n", "line 1.*'u1 hello'"),
        ("u1:\tref=['a']\nu1:\thyp=['a'\n", "line 2"),
        ("u1:\tref=['a']\nu1:\thyp=[1]\n", "line 2"),
        ("u1:\tref=['a']\nu1:\thyp=[f()]\n", "line 2"),
        ("u1:\tref=['a']\nu1:\tref=['a']\n", "line 2.*'u1'"),
        ("u1:\tref=['a']\n", "'u1'"),
    ],
)
def test_broken_recogs_are_refused(tmp_path, text, message):
    (tmp_path / "recogs.txt").write_text(text, encoding="utf-8")
    with pytest.raises(GmotError, match=message) as error:
        read_recogs(tmp_path / "recogs.txt")
    assert "recogs.txt" in str(error.value)


def test_missing_and_binary_recogs_are_refused(tmp_path):
    with pytest.raises(GmotError, match="recogs.txt"):
        read_recogs(tmp_path / "recogs.txt")
    (tmp_path / "recogs.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GmotError, match="not UTF-8"):
        read_recogs(tmp_path / "recogs.txt")


@pytest.mark.parametrize(
    ("ref", "hyp", "expected"),
    [
        ("他来了", "她来了", 1),  # both ta1
        ("他来了", "塔来了", 0),  # ta1, ta3: the tone counts
        ("他来了", "吗来了", 0),
        ("银行", "银航", 1),  # hang2 in this word
        ("银行", "银形", 0),  # xing2, as it is read elsewhere
        ("行走", "形走", 1),
        ("行走", "航走", 0),
        ("航天", "行天", 1),  # one of the hypothesis's readings will do
        ("他好她", "她好他", 2),
        ("他来", "来", 0),  # deleted
        ("来", "他来", 0),  # inserted
        ("A他<unk>B", "B她<unk>A", 1),  # letters have no sound
        ("他", "T", 0),
        ("<unk>", "他", 0),
        ("今天", "今天", 0),
    ],
)
def test_homophones(ref, hyp, expected):
    found = count_homophones(score({"a": ref}, {"a": hyp}).alignments.values())
    assert sum(found.values()) == expected


def test_insertions_do_not_change_the_readings_of_the_reference():
    pairs = [("银", "银"), ("", "啊"), ("行", "航")]
    assert count_homophones([pairs]) == {("行", "航"): 1}


def test_counts_of_utterances_add_up():
    result = score(random_texts(0), random_texts(1))
    counts = result.utterance_counts
    assert counts.shape == (40, 4)
    total = [result.ins, result.dels, result.sub, result.ref_len]
    assert counts.sum(axis=0).tolist() == total


def test_errs_file_lists_homophones(tmp_path):
    result = score({"a": "他说他好", "b": "你"}, {"a": "她说她号", "b": "我"})
    homophones = count_homophones(result.alignments.values())
    write_errs(tmp_path / "errs.txt", result, homophones)
    lines = (tmp_path / "errs.txt").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("HOMOPHONES:"))
    assert lines[start + 1 :] == ["2   他 -> 她"]


def test_errs_file(tmp_path):
    result = score({"u1": "abcde*", "u2": "你好<unk>"}, {"u1": "xycdef", "u2": "你好"})
    write_errs(tmp_path / "errs.txt", result)
    text = (tmp_path / "errs.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == "%CER = 44.44"
    assert lines[1] == (
        "Errors: 0 insertions, 1 deletions, 3 substitutions, "
        "over 9 reference characters (5 correct)"
    )
    assert "u1:\t(A B->X Y) C D E (*->F)" in lines
    assert "u2:\t你 好 (<unk>->*)" in lines
    sections = ["PER-UTT DETAILS", "SUBSTITUTIONS", "DELETIONS", "INSERTIONS"]
    sections.append("PER-WORD STATS")
    starts = [lines.index(next(x for x in lines[3:] if x.startswith(s + ":"))) for s in sections]
    assert starts == sorted(starts)
    assert "1   B -> Y" in lines[starts[1] : starts[2]]
    assert lines[starts[2] + 1] == "1   <unk>"
    # word, correct, errors, in references, in hypotheses
    assert "<unk>   0 1 1 0" in lines[starts[4] :]
    assert "你   1 0 1 1" in lines[starts[4] :]


COSTS = {"rtf_encoder": 0.0123, "rtf_decoding": 0.5, "peak_memory_mb": 812.4, "audio_seconds": 3}


def test_summary_file_has_the_best_first(tmp_path):
    numbers = {"a": {**COSTS, "rate": 5.0}, "b": {**COSTS, "rate": 4.126, "rtf_decoding": 0.25}}
    write_summary(tmp_path / "cer.txt", "CER", numbers)
    rows = [line.split("\t") for line in (tmp_path / "cer.txt").read_text().splitlines()]
    assert rows == [
        ["settings", "CER", "rtf_encoder", "rtf_decoding", "peak_memory_mb"],
        ["b", "4.13", "0.01230", "0.25000", "812"],
        ["a", "5.00", "0.01230", "0.50000", "812"],
    ]


def test_files_of_words(tmp_path):
    refs, hyps = {"u": "don't go now"}, {"u": "don’t no"}
    result = score(refs, hyps, metric=WER)
    write_errs(tmp_path / "errs.txt", result)
    lines = (tmp_path / "errs.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "%WER = 66.67" and "over 3 reference words (1 correct)" in lines[1]
    assert "u:\tDON'T (GO NOW->NO)" in lines
    write_recogs(tmp_path / "recogs.txt", refs, hyps)
    assert (tmp_path / "recogs.txt").read_text(encoding="utf-8").splitlines() == [
        """u:\tref=["DON'T", 'GO', 'NOW']""", """u:\thyp=["DON'T", 'NO']"""
    ]  # fmt: skip
    read = read_recogs(tmp_path / "recogs.txt")
    assert score(read.refs, read.hyps, metric=WER) == result
    write_summary(tmp_path / "wer.txt", "WER", {"a": {**COSTS, "rate": result.rate}})
    assert "settings\tWER\t" in (tmp_path / "wer.txt").read_text()


def test_log_line_and_record():
    result = score(REFS, HYPS)
    assert "[test-x] %CER 37.50% [3 / 8, " in result.line("test-x")
    numbers = json.loads(json.dumps(result.record()))
    assert numbers["del"] == result.dels and numbers["ref_len"] == 8
    low, high = numbers["intervals"]["utterance"]
    assert low <= numbers["rate"] == 37.5 <= high


def record(split="test", cer=1.0, **more):
    return {"split": split, "method": "1best", "epoch": 1, "avg": 1, "cer": cer, **more}


def test_results_are_replaced_by_key(tmp_path):
    path = tmp_path / "results.json"
    update_results(path, [record("test", 3.0), record("dev", 2.0)])
    update_results(path, [record("test", 1.5)])
    update_results(path, [record("test", 1.0, avg=2)])
    found = {(r["split"], r["avg"]): r["scores"]["CER"]["rate"] for r in read_results(path)}
    assert found == {("dev", 1): 2.0, ("test", 1): 1.5, ("test", 2): 1.0}


def test_the_newest_results_come_last(tmp_path):
    path = tmp_path / "results.json"
    update_results(path, [record("test", epoch=9), record("dev", epoch=9)])
    update_results(path, [record("dev", epoch=2)])
    assert [(r["split"], r["epoch"]) for r in read_results(path)] == [
        ("test", 9), ("dev", 9), ("dev", 2),
    ]  # fmt: skip
    update_results(path, [record("test", epoch=9)])
    assert [(r["split"], r["epoch"]) for r in read_results(path)] == [
        ("dev", 9), ("dev", 2), ("test", 9),
    ]  # fmt: skip


def test_results_of_another_training_are_removed(tmp_path):
    path = tmp_path / "results.json"
    first, second = ({"runs": [{"command": "train", "date": day}]} for day in "ab")
    update_results(path, [record("dev", epoch=9, training=first)])
    update_results(path, [record("test", epoch=9, training=dict(first))])
    assert [r["split"] for r in read_results(path)] == ["dev", "test"]
    update_results(path, [record("dev", epoch=1, training=second)])
    assert [(r["epoch"], r["training"]) for r in read_results(path)] == [(1, second)]


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"split": "dev"}]', "not json"])
def test_broken_results_are_refused(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(GmotError, match=r"results\.json"):
        update_results(tmp_path / "results.json", [record()])
