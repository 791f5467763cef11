"""What a training is refused for: stores and tokenizers that do not belong to it."""

import argparse
import json

import pytest
import torch
from small_bert import save_small_bert

from benchmarks.rows import ROWS, load_row
from gmot.common import GmotError
from gmot.teacher import Teacher, TeacherTokenizer, write_store
from gmot.training.config import TrainingConfig
from gmot.training.setup import choose_precision, open_store, prepare_process

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
            teacher=str(teacher),
            teacher_store=str(store),
            teacher_layer=asked,
            transfer=load_row(system),
        )
        return open_store(args, TeacherTokenizer(teacher))

    return opened


@pytest.mark.parametrize(("layer", "asked"), [("last", "last"), (2, "last"), (1, 1), (1, None)])
def test_the_store_of_the_layer_that_is_asked_for(opened, layer, asked):
    assert opened(layer, asked).layer == (2 if layer == "last" else layer)


@pytest.mark.parametrize(("layer", "asked", "number"), [(1, "last", 2), ("last", 1, 1), (0, 1, 1)])
@pytest.mark.parametrize("earlier", [(), ("num_layers",)])
def test_the_store_of_another_layer_is_refused(opened, layer, asked, number, earlier):
    """Of an earlier version too, which did not record how many layers there are."""
    found = 2 if layer == "last" else layer
    with pytest.raises(GmotError, match=f"layer {found} of 2.*asks for {number}"):
        opened(layer, asked, change=earlier)


def test_the_store_of_another_tokenizer_is_refused(opened, bert, tmp_path):
    other = save_small_bert(tmp_path / "other", list("天今气好"))
    with pytest.raises(GmotError, match=f"store.*{TeacherTokenizer(bert).fingerprint}.*other"):
        opened("last", "last", teacher=other)


def test_the_control_needs_a_random_teacher(opened):
    with pytest.raises(GmotError, match="store.*random_teacher"):
        opened("last", "last", system="gm_ot_random_teacher")


def test_what_learns_from_a_teacher_needs_a_store():
    args = argparse.Namespace(
        teacher="x", teacher_store=None, teacher_layer=None, transfer=load_row("gm_ot")
    )
    with pytest.raises(GmotError, match="--teacher-store"):
        open_store(args, None)
    without = {name for name, transfer in ROWS.items() if not transfer.learns_from_teacher}
    assert without == {"baseline", "ctc", "ctc_adapter"}


def test_a_process_is_prepared_by_one_function_alone():
    threads = torch.get_num_threads()
    try:
        assert prepare_process("cpu", 1, 5).type == "cpu"
        assert torch.get_num_threads() == 1 and torch.initial_seed() == 5
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def test_precisions_that_a_device_does_not_have_are_refused():
    cpu = torch.device("cpu")
    for name in ("auto", "float32"):
        assert choose_precision(TrainingConfig(precision=name), cpu) is None
    with pytest.raises(GmotError, match="fp16.*GPU"):
        choose_precision(TrainingConfig(precision="fp16"), cpu)
    if torch.__version__.startswith("1."):
        with pytest.raises(GmotError, match="bf16.*torch 2"):
            choose_precision(TrainingConfig(precision="bf16"), cpu)
    else:
        assert choose_precision(TrainingConfig(precision="bf16"), cpu) is torch.bfloat16
