"""Tokens of texts of any language, and back."""

import json

import pytest

from gmot.common import GmotError
from gmot.text.units import Bpe, Characters, Pieces, detokenize, load_units, runs, save_units

TEXTS = ["hello world", "held世界help", "don't stop", "привет мир", "我穿t恤<unk>", "नमस्ते दुनिया"]


class Halves:
    """A tokenizer that divides words in the middle and lacks those with ``q``."""

    fingerprint = "halves"

    def cut(self, run):
        ends = sorted({(len(run) + 1) // 2, len(run)})
        return None if "q" in run else ends


@pytest.fixture(params=["characters", "pieces", "bpe"])
def units(request):
    made = {"characters": Characters, "pieces": lambda: Pieces(Halves())}
    return made.get(request.param, lambda: Bpe.train(TEXTS * 3, 60))()


def test_runs_are_words_and_cjk_characters():
    text = "我穿t恤 don't <unk>か<unk>b ok"
    found = [text[start:end] for start, end in runs(text)]
    assert found == ["我", "穿", "t", "恤", "don't", "<unk>", "か", "<unk>", "b", "ok"]


def test_characters():
    units = Characters()
    assert units.tokenize("he 世界a") == ["▁h", "e", "世", "界", "▁a"]
    assert units.spans("he 世界a") == [(0, 1), (1, 2), (3, 4), (4, 5), (5, 6)]
    assert units.tokenize("a<unk>") == ["▁a", "<unk>"] and units.unknown("龘<unk>") == []


def test_pieces_are_written_as_in_the_text():
    units = Pieces(Halves())
    assert units.tokenize("Hello 世q") == ["▁Hel", "lo", "世", "<unk>"]
    assert units.spans("Hello 世q") == [(0, 3), (3, 5), (6, 7), (7, 8)]
    assert units.unknown("Hello 世q <unk>q") == ["q", "q"]


def test_bpe_joins_what_is_frequent_up_to_its_size():
    texts = ["the thin thing", "the世界theme"] * 3
    units = Bpe.train(texts, 40)
    assert units.tokenize("the 世界") == ["▁the", "世", "界"]
    tokens = {token for text in texts for token in units.tokenize(text)}
    assert len(tokens - set("世界")) <= 40
    assert units.tokenize("then Xz") == ["▁the", "n", "▁X", "z"]  # characters it has not seen
    assert Bpe.train(texts[::-1], 40).fingerprint == units.fingerprint
    assert Bpe.train(texts, 12).fingerprint != units.fingerprint
    with pytest.raises(GmotError, match="--vocab-size 5: .* 7 .*characters"):
        Bpe.train(texts, 5)
    assert Bpe.train(["世界"], 1).tokenize("世a") == ["世", "▁a"]


@pytest.mark.parametrize("text", [*TEXTS, "<unk>", "a <unk> b", "好<unk>好", "", "t恤t恤ok"])
def test_detokenize_is_the_inverse(units, text):
    text = " ".join(text.split())
    tokens = units.tokenize(text)
    assert detokenize(tokens) == text
    assert len(units.spans(text)) == len(tokens)
    for (start, end), token in zip(units.spans(text), tokens):
        assert token.lstrip("▁") == text[start:end]


def test_the_tokens_of_a_text_are_those_of_its_words(units):
    text, words = "我穿t恤 don't held", ["我", "穿", "t恤", "don't", "held"]
    assert units.tokenize(text) == [token for word in words for token in units.tokenize(word)]


def test_units_survive_the_disk(units, tmp_path):
    save_units(units, tmp_path)
    found = load_units(tmp_path, Halves)
    assert (found.kind, found.fingerprint) == (units.kind, units.fingerprint)
    assert all(found.tokenize(text) == units.tokenize(text) for text in TEXTS)


def test_units_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(GmotError, match="units.json"):
        load_units(tmp_path)
    save_units(Pieces(Halves()), tmp_path)
    with pytest.raises(GmotError, match="--teacher"):
        load_units(tmp_path)

    class Others(Halves):
        fingerprint = "others"

    with pytest.raises(GmotError, match=f"{tmp_path}.*pieces.*--teacher"):
        load_units(tmp_path, Others)
    save_units(Bpe.train(TEXTS, 60), tmp_path)
    (tmp_path / "bpe.json").write_text("{}")
    with pytest.raises(GmotError, match=r"bpe\.json"):
        load_units(tmp_path)
    (tmp_path / "units.json").write_text(json.dumps({"kind": "words"}))
    with pytest.raises(GmotError, match="words.*characters"):
        load_units(tmp_path)
