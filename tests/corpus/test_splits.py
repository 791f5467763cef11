"""Proposed splits: the corpus's own, or parts of its training split."""

import pytest
from lhotse import SupervisionSegment

from gmot.common import GmotError
from gmot.corpus.splits import propose_splits, role_of
from gmot.data.kaldi import Split


def make_split(name, speakers, seconds=5.0, prefix="", texts=None):
    """A split with an utterance per entry of ``speakers``."""
    split = Split(name)
    for i, speaker in enumerate(speakers):
        key = f"{prefix or name}{i:03d}"
        text = texts[i] if texts else f"text {key}"
        split.supervisions[key] = SupervisionSegment(
            key, key, 0.0, seconds, text=text, speaker=speaker
        )
    return split


def speakers_of(split, ids):
    return {split.supervisions[key].speaker for key in ids}


@pytest.mark.parametrize(
    ("name", "role"),
    [("train", "train"), ("train-clean-100", "train"), ("Training", "train"), ("dev_other", "dev"),
     ("valid", "dev"), ("validation", "dev"), ("test2", "test"), ("eval", "test"),
     ("validated", None), ("invalidated", None), ("other", None), ("all", None)],
)  # fmt: skip
def test_names_of_splits(name, role):
    assert role_of(name) == role


def test_own_splits_stay_and_several_are_joined():
    names = ("train-a", "train-b", "dev-a", "test-a", "test-b", "other")
    corpus = [make_split(name, ["x"] * 3) for name in names]
    found = propose_splits(corpus)
    assert found.lists["train"] == [f"train-{s}00{i}" for s in "ab" for i in range(3)]
    assert len(found.lists["dev"]) == 3 and len(found.lists["test"]) == 6
    assert found.sources == list(names[:5])
    assert any("train-a, train-b" in note for note in found.notes)
    assert any("'other', 3 utterances" in note for note in found.notes)


def test_a_corpus_without_dev_gets_one_of_other_speakers():
    train = make_split("train", [f"s{i // 10}" for i in range(200)])
    found = propose_splits([train, make_split("test", ["t"] * 5)])
    chosen = speakers_of(train, found.lists["dev"])
    assert len(chosen) == 2  # a tenth
    assert not chosen & speakers_of(train, found.lists["train"])
    assert len(found.lists["dev"]) + len(found.lists["train"]) == 200
    assert found.lists["test"] == [f"test{i:03d}" for i in range(5)]
    assert any("dev: taken from train, 2 of 20 speakers" in note for note in found.notes)


def test_a_corpus_without_splits_is_divided_by_speaker():
    corpus = make_split("all", [f"s{i % 8}" for i in range(80)])
    found = propose_splits([corpus])
    groups = [speakers_of(corpus, found.lists[name]) for name in ("train", "dev", "test")]
    assert all(groups) and sum(map(len, groups)) == 8
    again = propose_splits([corpus])
    assert again.lists == found.lists
    assert any(propose_splits([corpus], seed=s).lists != found.lists for s in range(1, 4))


def test_without_speakers_a_text_is_in_one_split():
    texts = [f"sentence {i % 50}" for i in range(200)]
    corpus = make_split("all", [None] * 200, texts=texts)
    found = propose_splits([corpus])
    sets = [{corpus.supervisions[k].text for k in ids} for ids in found.lists.values()]
    assert all(sets) and sum(map(len, sets)) == 50
    assert sum("no speakers are known" in note for note in found.notes) == 1


@pytest.mark.parametrize(
    ("speakers", "why"),
    [(["x"] * 50 + ["y"] * 50, "too few"), (["x", None] * 50, "some utterances only"),
     (["a"] * 40 + ["b"] * 40 + ["c"] * 40 + ["d"] * 40, "")],
)  # fmt: skip
def test_speakers_that_cannot_be_separated_are_said(speakers, why):
    corpus = make_split("all", speakers)
    found = propose_splits([corpus])
    assert why in " ".join(found.notes)
    assert all(found.lists.values()) and sum(map(len, found.lists.values())) == len(speakers)


def test_copies_of_an_utterance_are_left_out_of_train():
    train, test = make_split("train", [None] * 20), make_split("test", [None] * 2)
    copies = {"train003": "test000", "test001": "test000"}
    found = propose_splits([test, train], copies)
    assert "train003" not in {key for ids in found.lists.values() for key in ids}
    assert found.lists["test"] == ["test000", "test001"]
    assert found.left_out == [("train003", "same audio as test000")]


def test_too_few_utterances_are_an_error():
    with pytest.raises(GmotError, match=r"2 usable utterances.*at least 3"):
        propose_splits([make_split("all", ["x", "y"])])
    with pytest.raises(GmotError, match="at least 2"):
        propose_splits([make_split("train", ["x"]), make_split("dev", ["y"])])
    found = propose_splits([make_split("all", ["x"] * 3, texts=["same"] * 3)])
    assert [len(ids) for ids in found.lists.values()] == [1, 1, 1]
