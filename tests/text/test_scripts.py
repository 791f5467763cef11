import unicodedata

import pytest

from gmot.text.scripts import guess_language, script_of, text_statistics


def statistics(*texts):
    return text_statistics((f"u{i}", text) for i, text in enumerate(texts))


@pytest.mark.parametrize(
    ("character", "script"),
    [("a", "Latn"), ("é", "Latn"), ("я", "Cyrl"), ("今", "Hani"), ("々", "Hani"), ("ー", "Kana"),
     ("Ａ", "Latn"), ("ｶ", "Kana"), ("한", "Hang"), ("ก", "Thai"), ("1", None), ("'", None),
     ("\u0301", None), ("ʼ", None), ("ᚠ", "other")],
)  # fmt: skip
def test_scripts_of_letters(character, script):
    assert script_of(character) == script


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["HELLO IT'S ME", "a café"] + ["plain words of English text"] * 20, "en"),
        (["où est la forêt", "été à Paris"], "und-Latn"),
        (["ещё одно слово"], "und-Cyrl"),
        (["今天天气很好", "A股大涨"] + ["我们去吃饭"] * 30, "zh"),
        (["我们 meeting 改到三点", "好的 no problem", "那个 project 怎么样"], "zh-en"),
        (["今日はいい天気です"], "ja"),
        (["안녕하세요"], "ko"),
        (["สวัสดี"], "th"),
        (["123 456"], "und"),
    ],
)
def test_the_language_is_guessed_from_characters(texts, language):
    assert guess_language(statistics(*texts)) == language


def test_mixed_scripts_and_look_alike_letters():
    found = statistics("мост", "\u0441at and dog", "слово word", "今天です", "今天 ok")
    assert found.mixed == ["u1", "u2", "u4"]
    assert found.mixed_words == [("u1", "\u0441at")]


def test_two_normal_forms():
    decomposed = unicodedata.normalize("NFD", "café")
    found = statistics("un café noir", f"un {decomposed}", "un thé")
    assert found.decomposed == ["u1"] and found.two_forms == ["café"]


def test_case_digits_and_rare_characters():
    found = statistics("aaa bbb 1", "AAA", "zzz ñ", "")
    assert (found.texts, found.digits, found.lower, found.upper) == (3, 1, 2, 1)
    assert found.rare == {"1": 1, "ñ": 1}
