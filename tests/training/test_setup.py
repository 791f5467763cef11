"""What a training is refused for: stores and tokenizers that do not belong to it."""

import argparse

import pytest
import torch
from small_bert import save_small_bert

from benchmarks.rows import ROWS, load_row
from gmot.common import GmotError
from gmot.teacher import Teacher, TeacherTokenizer, write_store
from gmot.text.units import Characters, Pieces
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

    def opened(layer, asked, units=None, system="gm_ot"):
        write_store(store, Teacher(bert, layer), Characters(), ["今天"])
        args = argparse.Namespace(
            lang_dir="the-lang",
            teacher_store=str(store),
            teacher_layer=asked,
            transfer=load_row(system),
        )
        return open_store(args, units or Characters())

    return opened


@pytest.mark.parametrize(("layer", "asked"), [("last", "last"), (2, "last"), (1, 1), (1, None)])
def test_the_store_of_the_layer_that_is_asked_for(opened, layer, asked):
    assert opened(layer, asked).layer == (2 if layer == "last" else layer)


@pytest.mark.parametrize(("layer", "asked", "number"), [(1, "last", 2), ("last", 1, 1), (0, 1, 1)])
def test_the_store_of_another_layer_is_refused(opened, layer, asked, number):
    found = 2 if layer == "last" else layer
    with pytest.raises(GmotError, match=f"layer {found} of 2.*asks for {number}"):
        opened(layer, asked)


def test_the_store_of_other_tokens_is_refused(opened, bert):
    pieces = Pieces(TeacherTokenizer(bert))
    facts = f"store.*{Characters().fingerprint}.*the-lang.*{pieces.fingerprint}.*pieces"
    with pytest.raises(GmotError, match=facts):
        opened("last", "last", units=pieces)


def test_the_control_needs_a_random_teacher(opened):
    with pytest.raises(GmotError, match="store.*random_teacher"):
        opened("last", "last", system="gm_ot_random_teacher")


def test_what_learns_from_a_teacher_needs_a_store():
    args = argparse.Namespace(
        lang_dir="x", teacher_store=None, teacher_layer=None, transfer=load_row("gm_ot")
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
