import random
import unicodedata

import pytest

from gmot.common import GmotError
from gmot.text.normalize import load_normalizer, normalize_keeping_case, normalize_text


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


def test_again_changes_nothing_and_nothing_unspoken_is_left():
    rng = random.Random(0)
    alphabet = [chr(c) for c in range(0x20, 0x3400) if unicodedata.category(chr(c)) != "Cn"]
    alphabet += list("中国人民 \n\u2028ab1") * 100 + list("ｱﾞＡ￥ﬁßŉ\u0301\u200d'")
    for _ in range(2000):
        text = "".join(rng.choices(alphabet, k=8))
        once = normalize_text(text)
        assert normalize_text(once) == once, repr(text)
        assert not any(unicodedata.category(c)[0] in "PSC" for c in once), repr(text)
        assert "  " not in once and once == once.strip()


def test_normalisers_are_named_by_module_and_function():
    assert load_normalizer("gmot.text.normalize:normalize_text") is normalize_text
    assert load_normalizer("builtins:str")("a ，") == "a ，"


@pytest.mark.parametrize("name", ["", "string", "no.module:f", "string:nothing", "string:digits"])
def test_unknown_normalisers_are_refused(name):
    with pytest.raises(GmotError, match=f"'{name}'"):
        load_normalizer(name)
