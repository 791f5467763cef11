from pathlib import Path

import cn2an
import pytest

MINI = Path(__file__).resolve().parents[2] / "egs" / "mini" / "local"


@pytest.fixture(autouse=True)
def mini_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(MINI))


def test_numbers_are_said_as_cn2an_says_them():
    from sentences import number

    for n in range(1, 1000):
        assert number(n) == cn2an.an2cn(n)


def test_sentences_are_distinct_and_reproducible():
    from sentences import generate

    first = generate(500, seed=3)
    assert first == generate(500, seed=3)
    assert len(set(first)) == 500
    characters = {c for s in generate(3000, seed=3) for c in s if c not in "，。？"}
    assert 110 <= len(characters) <= 140


def test_context_tells_the_pronouns_apart():
    from sentences import MEN, WOMEN, generate

    for sentence in generate(3000, seed=5):
        if "她" in sentence:
            assert any(woman in sentence for woman in WOMEN), sentence
        if "他" in sentence:
            assert any(man in sentence for man in MEN), sentence
        assert not ("他" in sentence and "她" in sentence)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_parts_share_neither_sentences_nor_speakers(size):
    from corpus import SIZES, plan

    parts = plan(size, hsk_wheel=Path("not-read"))
    assert {part: len(us) for part, us in parts.items()} == SIZES[size]
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for what in ("text", "speaker", "voice", "id"):
            shared = {getattr(u, what) for u in parts[one]} & {
                getattr(u, what) for u in parts[other]
            }
            assert not shared, (what, shared)


def test_small_contains_the_characters_of_its_test_part():
    from corpus import plan

    parts = plan("small", hsk_wheel=Path("not-read"))
    seen = {c for u in parts["train"] for c in u.text}
    assert {c for u in parts["test"] + parts["dev"] for c in u.text} <= seen
