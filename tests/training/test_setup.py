"""What a training is refused for: stores and tokenizers that do not belong to it."""

import argparse
import json

import pytest
from small_bert import save_small_bert

from gmot.common import GmotError
from gmot.teacher import Teacher, TeacherTokenizer, write_store
from gmot.training.setup import open_store
from gmot.transfer import SYSTEMS, get_system

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_small_bert(tmp_path_factory.mktemp("teacher") / "bert", list("今天气好"))


@pytest.fixture
def opened(bert, tmp_path):
    """Open a store of one layer with the options of a training."""
    store = tmp_path / "store"

    def opened(layer, asked, teacher=bert, change=(), system="gm_ot"):
        if layer is not None:
            write_store(store, Teacher(bert, layer), ["今天"])
        path = store / "index.json"
        index = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({k: v for k, v in index.items() if k not in change}))
        args = argparse.Namespace(
            teacher=str(teacher), teacher_store=str(store), teacher_layer=asked
        )
        return open_store(args, get_system(system), TeacherTokenizer(teacher))

    return opened


@pytest.mark.parametrize(("layer", "asked"), [("last", "last"), (2, "last"), (1, 1), (1, None)])
def test_the_store_of_the_layer_that_is_asked_for(opened, layer, asked):
    assert opened(layer, asked).layer == (2 if layer == "last" else layer)


@pytest.mark.parametrize(("layer", "asked", "number"), [(1, "last", 2), ("last", 1, 1), (0, 1, 1)])
@pytest.mark.parametrize("earlier", [(), ("num_layers", "tokenizer")])
def test_the_store_of_another_layer_is_refused(opened, layer, asked, number, earlier):
    """Of an earlier version too, which did not record how many layers there are."""
    found = 2 if layer == "last" else layer
    with pytest.raises(GmotError, match=f"layer {found} of 2.*asks for {number}"):
        opened(layer, asked, change=earlier)


def test_the_store_of_another_tokenizer_is_refused(opened, bert, tmp_path, caplog):
    other = save_small_bert(tmp_path / "other", list("天今气好"))
    with pytest.raises(GmotError, match=f"store.*{TeacherTokenizer(bert).fingerprint}.*other"):
        opened("last", "last", teacher=other)
    assert not caplog.records
    opened("last", "last", teacher=other, change=("tokenizer",))  # nothing to compare with
    (record,) = caplog.records
    assert "store" in record.getMessage() and "not checked" in record.getMessage()


def test_what_learns_from_a_teacher_needs_a_store():
    args = argparse.Namespace(teacher="x", teacher_store=None, teacher_layer=None)
    with pytest.raises(GmotError, match="--teacher-store"):
        open_store(args, get_system("gm_ot"), None)
    without = {name for name, settings in SYSTEMS.items() if not settings.learns_from_teacher}
    assert without == {"ctc", "ctc_adapter"}
