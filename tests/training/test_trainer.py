from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from benchmarks.rows import load_row
from gmot.common import GmotError, write_json
from gmot.data.datamodule import Batch
from gmot.model.checkpoint import (
    BEST,
    epoch_path,
    load_for_decoding,
    read_checkpoint,
    start_from,
)
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.teacher import FeatureStore
from gmot.text.tokens import TokenTable
from gmot.training.config import TrainingConfig
from gmot.training.labels import Labels
from gmot.training.trainer import Trainer

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


def teacher_store(folder, texts, width=6):
    """Features of two rows more than a text has characters."""
    folder.mkdir(exist_ok=True)
    ends = np.cumsum([len(text) + 2 for text in texts])
    rows = {text: [int(end) - len(text) - 2, len(text) + 2] for text, end in zip(texts, ends)}
    features = np.random.default_rng(0).normal(size=(ends[-1], width)).astype(np.float16)
    features.tofile(folder / "features.bin")
    index = {
        "texts": rows,
        "dim": width,
        "fingerprint": "toy",
        "layer": 12,
        "random_weights": False,
        "rows": int(ends[-1]),
    }
    write_json(folder / "index.json", index)
    return FeatureStore(folder)


def trainer(folder, dev=None, train=None, system="ctc", tokenize=list, **options):
    torch.manual_seed(0)
    train = train or Batches([utterance("a", "甲乙"), utterance("b", "乙丙甲")])
    settings, config, store = load_row(system), CONFIG, None
    if settings.has_adapter and not settings.learns_from_teacher:
        config = replace(CONFIG, teacher_dim=6, adapter_scale=settings.adapter_scale)
    if settings.learns_from_teacher:
        store = teacher_store(folder, sorted({t for batch in train for t in batch.texts}))
        # As many blocks as every third of them needs to be two.
        config = replace(
            CONFIG, num_layers=4, teacher_dim=store.dim, adapter_scale=settings.adapter_scale
        )
    values = dict(
        num_epochs=2, base_lr=0.01, warmup_steps=2, schedule="noam", weight_decay=0.0,
        clip_norm=5.0, keep_last=2,
    )  # fmt: skip
    return Trainer(
        CtcModel(config),
        settings,
        TrainingConfig(**{**values, **options}),
        {"model": asdict(config)},
        Labels(TOKENS, tokenize),
        train,
        dev or train,
        store,
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


SYSTEMS = ("ctc", "gm_ot", "hcm", "hcm_last")


@pytest.mark.parametrize("system", SYSTEMS)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, system):
    trainer(tmp_path / "whole", system=system, num_epochs=3).train()
    trainer(tmp_path / "parts", system=system, num_epochs=1).train()
    second = trainer(tmp_path / "parts", system=system, num_epochs=3)
    torch.manual_seed(123)  # another process has other numbers
    for parameter in second.parameters:
        parameter.data.normal_()
    second.resume()
    assert second.epoch == 1
    second.train()
    whole, parts = (read_checkpoint(tmp_path / name / "epoch-3.pt") for name in ("whole", "parts"))
    assert whole["step"] == parts["step"]
    for key in ("model", "transfer"):
        assert list(whole[key]) == list(parts[key])
        assert all(torch.equal(v, parts[key][k]) for k, v in whole[key].items())
    assert bool(whole["transfer"]) == system.startswith("hcm")


@pytest.mark.parametrize("system", SYSTEMS[1:])
def test_transfer_is_learned_beside_the_model(tmp_path, system):
    training = trainer(tmp_path, system=system, num_epochs=8)
    before = [p.detach().clone() for p in training.parameters]
    first = training.loss(training.train_loader[0])[1]
    training.train()
    last = training.loss(training.train_loader[0])[1]
    assert last["ctc"] < first["ctc"] and last["alignment"] < first["alignment"]
    assert not any(torch.equal(old, new) for old, new in zip(before, training.parameters))
    plan = training.last_transfer[1].result.plan
    torch.testing.assert_close(plan.sum((1, 2)), torch.ones(1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_whole_gradient_is_clipped(tmp_path, system):
    training = trainer(tmp_path, system=system, clip_norm=1e-3)
    training._update(training.train_loader[0], 0.0)
    norms = torch.stack([p.grad.norm() for p in training.parameters])
    assert norms.norm().item() == pytest.approx(1e-3, rel=1e-2)
    assert norms[-1] > 0  # of the transfer, where it has parameters


@pytest.mark.parametrize("system", SYSTEMS)
def test_inference_knows_nothing_of_the_transfer(tmp_path, system):
    """Decoding and starting from a checkpoint read the model alone."""
    training = trainer(tmp_path, system=system)
    training.train()
    decoded, _ = load_for_decoding(tmp_path, avg=1)
    started = CtcModel(decoded.config)
    start_from(started, epoch_path(tmp_path, 2), training.labels.tokens)
    batch = training.train_loader[1]
    layers = training.objective.layers(4) if training.objective else ()
    training.model.eval()
    expected = training.model(batch.features, batch.lengths, layers=layers).log_probs
    for model in (decoded, started.eval()):
        assert torch.equal(model(batch.features, batch.lengths).log_probs, expected)
    averaged, _ = load_for_decoding(tmp_path, avg=2)
    assert list(averaged.state_dict()) == list(decoded.state_dict())


def test_the_adapter_alone_needs_no_teacher(tmp_path, monkeypatch):
    """ctc_weight 1: no store, no transport, and the adapter learns by CTC."""
    import gmot.transfer.losses as losses

    for name in ("sinkhorn", "fused_gromov_wasserstein"):
        monkeypatch.setattr(losses, name, None)
    training = trainer(tmp_path, system="ctc_adapter", num_epochs=8)
    assert training.store is None and training.objective is None
    adapter = training.model.adapter
    before = [p.detach().clone() for p in adapter.parameters()]
    first = training.evaluate()
    training.train()
    assert training.evaluate()["loss"] < first["loss"] and training.last_transfer is None
    assert not any(torch.equal(old, new) for old, new in zip(before, adapter.parameters()))
    resumed = trainer(tmp_path, system="ctc_adapter", num_epochs=8)
    resumed.resume()
    assert resumed.epoch == 8


def test_transport_that_does_not_converge_is_told(tmp_path, caplog):
    """In every epoch's line, and by one warning."""
    training = trainer(tmp_path, system="cma_ot")
    training.transfer = replace(training.transfer, tolerance=0.0)
    with caplog.at_level("INFO"):
        training.train()
    warnings = [r for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1 and "100.0 %" in warnings[0].getMessage()
    epochs = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch ")]
    assert sum("above_tolerance 1" in line for line in epochs) == 2


def test_a_text_is_tokenized_once(tmp_path):
    seen = []
    train = Batches([utterance("a", "甲乙"), utterance("b", "乙丙甲"), utterance("c", "甲乙")])
    training = trainer(tmp_path, train=train, tokenize=lambda text: seen.append(text) or list(text))
    training.labels.add(["甲乙", "乙丙甲", "甲乙"], "lang")
    training.train()
    assert sorted(seen) == ["乙丙甲", "甲乙"]
    with pytest.raises(GmotError, match="lang/tokens.txt.*丁"):
        training.labels.add(["甲丁"], "lang")


def test_a_training_that_is_longer_already_is_refused(tmp_path):
    trainer(tmp_path, num_epochs=2).train()
    with pytest.raises(GmotError, match="epoch-2.pt.*num_epochs 1"):
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
    with pytest.raises(GmotError, match="dev"):
        training.evaluate()


@pytest.mark.parametrize("option", ["num_epochs", "keep_last", "clip_norm"])
def test_options_that_make_no_sense(tmp_path, option):
    with pytest.raises(GmotError, match=f"{option}.*0"):
        trainer(tmp_path, **{option: 0})
