"""Units of the character, word and mixed error rates."""

import random
import unicodedata

import pytest

from gmot.evaluation.scoring import score
from gmot.text.normalize import join_words, normalize_unicode
from gmot.text.scoring_units import CER, MER, SCORING, WER, characters, mixed, words


def test_characters():
    assert characters("中 国a<unk>1") == ["中", "国", "A", "<unk>", "1"]
    assert characters(" ") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t  stop", ["DON'T", "STOP"]),
        ("don\u02bct <UNK>stop", ["DON'T", "<unk>", "STOP"]),
        ("привет Мир", ["ПРИВЕТ", "МИР"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("ภาษา ไทย", ["ภาษา", "ไทย"]),
        ("cafe\u0301 ＯＫ a\u00adb", ["CAFÉ", "OK", "AB"]),
        ("ılık ilik", ["ıLıK", "ILIK"]),  # Turkish: two letters, two words
        ("' a", ["A"]),
        ("", []),
    ],
)
def test_words(text, expected):
    expected = [unicodedata.normalize("NFKC", word) for word in expected]
    assert words(text) == mixed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected_mixed", "expected_words"),
    [
        ("我想buy一个new phone", ["我", "想", "BUY", "一", "个", "NEW", "PHONE"],
         ["我想BUY一个NEW", "PHONE"]),
        ("今天 it's 好", ["今", "天", "IT'S", "好"], ["今天IT'S好"]),
        ("カラオケ<unk>ok", ["カ", "ラ", "オ", "ケ", "<unk>", "OK"], ["カラオケ<unk>", "OK"]),
    ],
)  # fmt: skip
def test_mixed_text(text, expected_mixed, expected_words):
    assert mixed(text) == expected_mixed
    assert words(text) == expected_words


def test_case_and_variants_of_the_apostrophe_are_no_errors_but_its_absence_is():
    ref = {"u": "Don’t stop Café"}
    assert score(ref, {"u": "don't STOP cafe\u0301"}, metric=WER).errors == 0
    result = score(ref, {"u": "dont stop café"}, metric=WER)
    assert (result.sub, result.ref_len) == (1, 3)
    assert score(ref, {"u": "dont stop café"}, metric=CER).errors == 0


def test_rates_by_hand():
    ref, hyp = {"u": "我想 buy 一个 new phone"}, {"u": "我要 by 个 new phone <unk>"}
    result = score(ref, hyp, metric=MER)
    assert (result.sub, result.dels, result.ins, result.ref_len) == (2, 1, 1, 7)
    assert result.rate == pytest.approx(100 * 4 / 7)
    ref, hyp = {"u": "the cat sat on the mat"}, {"u": "the cats sat the mat now"}
    result = score(ref, hyp, metric=WER)
    assert (result.sub, result.dels, result.ins, result.ref_len) == (1, 1, 1, 6)
    assert result.line("test").startswith("[test] %WER 50.00% [3 / 6, 1 ins, 1 del, 1 sub ]")
    assert score(ref, hyp).ref_len == len("thecatsatonthemat")


def test_the_text_of_mixed_units_has_the_same_units():
    """So recogs files, which list mixed units, serve all metrics."""
    rng = random.Random(0)
    alphabet = [*"中国かab'", " ", " ", "<unk>", "é", "й", "ß", "ı", "İ", "ไ", "ท", "ย"]
    for _ in range(2000):
        text = normalize_unicode("".join(rng.choices(alphabet, k=9)))
        again = join_words(mixed(text))
        for metric in SCORING.values():
            assert metric.units(again) == metric.units(text), text
