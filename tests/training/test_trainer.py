import pytest
import torch

from gmot.common import GmotError
from gmot.data.datamodule import Batch
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.text.tokens import TokenTable
from gmot.training.checkpoint import BEST, read_checkpoint
from gmot.training.trainer import Trainer, TrainingOptions
from gmot.transfer.systems import get_system

TOKENS = TokenTable.from_pieces("甲乙丙")
CONFIG = ModelConfig(
    vocab_size=len(TOKENS), num_features=8, d_model=16, num_heads=2, ffn_dim=32, num_layers=1,
    kernel_size=3, subsampling_channels=4, dropout=0.1,
)  # fmt: skip


class Batches(list):
    """What a Loader is to the trainer."""

    num_utterances = property(lambda self: sum(map(len, self)))

    def set_epoch(self, epoch):
        self.epoch = epoch


def utterance(name, text, frames=None):
    """Each character is 16 frames of a pattern of its own."""
    patterns = {"甲": [4.0, 0.0], "乙": [0.0, 4.0], "丙": [-4.0, -4.0]}
    features = torch.cat([torch.tensor(patterns[c]).repeat(16, 4) for c in text])
    features = features[:frames] + 0.1 * torch.randn(features[:frames].shape)
    return Batch([name], features[None], torch.tensor([len(features)]), [text], [1.0])


def trainer(folder, dev=None, train=None, **options):
    torch.manual_seed(0)
    train = train or Batches([utterance("a", "甲乙"), utterance("b", "乙丙甲")])
    values = dict(
        num_epochs=2, base_lr=0.01, warmup_steps=2, schedule="noam", weight_decay=0.0,
        clip_norm=5.0, keep_last=2,
    )  # fmt: skip
    return Trainer(
        CtcModel(CONFIG),
        get_system("ctc"),
        TrainingOptions(**{**values, **options}),
        {"model": CONFIG.to_dict()},
        TOKENS,
        list,
        train,
        dev or train,
        None,
        folder,
    )


def test_it_learns_and_keeps_the_last_checkpoints(tmp_path):
    training = trainer(tmp_path, num_epochs=40)
    before = training.evaluate()
    training.train()
    after = training.evaluate()
    assert after["loss"] < 0.2 * before["loss"]
    assert after["cer"] == 0
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == [BEST, "epoch-39.pt", "epoch-40.pt"]
    assert read_checkpoint(tmp_path / BEST)["best_loss"] <= after["loss"] + 1e-6


def test_stopped_and_resumed_equals_uninterrupted(tmp_path):
    trainer(tmp_path / "whole", num_epochs=3).train()
    trainer(tmp_path / "parts", num_epochs=1).train()
    torch.manual_seed(123)  # another process has other numbers
    second = trainer(tmp_path / "parts", num_epochs=3)
    second.resume()
    assert second.epoch == 1
    second.train()
    whole, parts = (read_checkpoint(tmp_path / name / "epoch-3.pt") for name in ("whole", "parts"))
    assert whole["step"] == parts["step"]
    assert all(torch.equal(v, parts["model"][k]) for k, v in whole["model"].items())


def test_a_training_that_is_longer_already_is_refused(tmp_path):
    trainer(tmp_path, num_epochs=2).train()
    with pytest.raises(GmotError, match="epoch-2.pt: trained longer than --num-epochs 1"):
        trainer(tmp_path, num_epochs=1).resume()


def test_dev_utterances_too_short_for_their_text_are_left_out_of_the_loss(tmp_path):
    good = utterance("good", "甲乙")
    short = utterance("short", "甲甲甲乙乙乙", frames=16)
    only_good = trainer(tmp_path, dev=Batches([good])).evaluate()
    both = trainer(tmp_path, dev=Batches([good, short])).evaluate()
    assert both["loss"] == pytest.approx(only_good["loss"])
    assert both["impossible"] == 0.5 and "impossible" not in only_good
    assert both["cer"] != only_good["cer"]  # they are scored
    assert trainer(tmp_path, dev=Batches([short])).evaluate()["loss"] == float("inf")


def test_features_that_are_no_numbers_stop_the_training_by_name(tmp_path):
    bad = utterance("rotten", "甲乙")
    bad.features[0, 3, 2] = float("nan")
    with pytest.raises(GmotError, match="step 1.*rotten"):
        trainer(tmp_path, train=Batches([bad])).train()
    assert not list(tmp_path.glob("*.pt"))


def test_a_dev_part_without_utterances(tmp_path):
    training = trainer(tmp_path)
    training.dev_loader = Batches()
    with pytest.raises(GmotError, match="dev part has no utterance"):
        training.evaluate()


@pytest.mark.parametrize("option", ["num_epochs", "keep_last", "clip_norm"])
def test_options_that_make_no_sense(tmp_path, option):
    with pytest.raises(GmotError, match=f"--{option.replace('_', '-')} 0"):
        trainer(tmp_path, **{option: 0})
