import random
import unicodedata

import pytest

from gmot.common import GmotError
from gmot.text.normalize import (
    load_normalizer,
    normalize_english,
    normalize_keeping_case,
    normalize_text,
    normalize_unicode,
)

ALL = [normalize_text, normalize_keeping_case, normalize_unicode, normalize_english]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("你好，世界！", "你好世界"),
        ("你 好\t世 界", "你好世界"),
        ("ＡＢＣ１２", "ABC12"),
        ("用 gmot 吧", "用GMOT吧"),
        ("hello  world", "HELLO WORLD"),
        ("don't stop", "DONT STOP"),
        ("a,b", "A B"),
        ("约翰·史密斯", "约翰史密斯"),
        ("约翰・史密斯", "约翰史密斯"),
        ("3.5%", "3 5"),
        ("一\u200b二\ufeff", "一二"),
        ("二〇二五年々", "二〇二五年々"),
        ("ÉCOLE e\u0301cole", "ÉCOLE ÉCOLE"),
        ("，。", ""),
        ("", ""),
    ],
)
def test_examples(raw, expected):
    assert normalize_text(raw) == expected


def test_case_can_be_kept():
    assert normalize_keeping_case("Ab，中") == "Ab中"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Привет, мир! Ёлка — и\u0306", "привет мир ёлка й"),
        ("п’ять і м\u02bcята", "п'ять і м'ята"),
        ("नमस्ते दुनिया। क\u094d\u200dष", "नमस्ते दुनिया क्ष"),
        ("ภาษาไทย", "ภาษาไทย"),
        ("น้ำ", "น้\u0e4d\u0e32"),  # the NFKC of sara am
        ("Straße, GROẞ", "straße groß"),
        ("İstanbul’da ılık", "istanbul'da ılık"),
        ("ΟΔΟΣ", "οδος"),
        ("שָׁלוֹם", "שָׁלוֹם"),
        ("今天 OK 吗？don`t 很 well-known", "今天ok吗don't很well known"),
        ("中'国' it''s 'quoted' dogs' rock 'n' roll", "中国it s quoted dogs rock n roll"),
        ("don't don\u2019t don\u2018t don\u02bct don\u00b4t don\u2032t", " ".join(["don't"] * 6)),
        ("3.5 % of 1990's", "3 5 of 1990's"),
        ("[noise] Ab <UNK>", "ab <unk>"),
        ("１️⃣ ❤️ a\u00adb", "1 ab"),
        ("…", ""),
        ("", ""),
    ],
)
def test_any_language(raw, expected):
    expected = unicodedata.normalize("NFKC", expected)
    assert normalize_unicode(raw) == normalize_unicode(expected) == expected
    for form in ("NFC", "NFD"):
        assert normalize_unicode(unicodedata.normalize(form, raw)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Don’t stop -- it's nine o'clock!", "don't stop it's nine o'clock"),
        ("A na\u00efve caf\u00e9, Zu\u0308rich", "a naive cafe zurich"),
        ('well-known U.S. "quotes"', "well known u s quotes"),
        ("(laughter) Hello, [UNK]!", "hello <unk>"),
        ("dogs’ 'cause", "dogs cause"),
        ("Straße", "straße"),
    ],
)
def test_english(raw, expected):
    assert normalize_english(raw) == normalize_english(expected) == expected


@pytest.mark.parametrize("normalize", ALL)
def test_again_changes_nothing_and_nothing_unspoken_is_left(normalize):
    rng = random.Random(0)
    alphabet = [chr(c) for c in range(0x20, 0x3400) if unicodedata.category(chr(c)) != "Cn"]
    alphabet += list("中国人民 \n\u2028ab1") * 100 + list("ｱﾞＡ￥ﬁßŉİß\u0301\u3099\u200d'’´") * 20
    for _ in range(1000):
        text = "".join(rng.choices(alphabet, k=8))
        once = normalize(text)
        assert normalize(once) == once, repr(text)
        assert not any(unicodedata.category(c)[0] in "PSC" for c in once.replace("'", "")), text
        assert all(word.strip("'") == word != "" for word in once.split()), text
        assert "  " not in once and once == once.strip()


@pytest.mark.parametrize("normalize", ALL)
def test_two_normal_forms_end_the_same(normalize):
    for text in ("Çà et là, l’été", "Й ё ї", "がぎぐ", "한국어", "क़ ड़", "ế ṩ", "İ Å"):
        forms = {normalize(unicodedata.normalize(f, text)) for f in ("NFC", "NFD", "NFKC", "NFKD")}
        assert len(forms) == 1, forms


def test_normalisers_are_named_by_module_and_function():
    assert load_normalizer("gmot.text.normalize:normalize_text") is normalize_text
    assert load_normalizer("builtins:str")("a ，") == "a ，"


@pytest.mark.parametrize("name", ["", "string", "no.module:f", "string:nothing", "string:digits"])
def test_unknown_normalisers_are_refused(name):
    with pytest.raises(GmotError, match=f"'{name}'"):
        load_normalizer(name)
