import logging
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from benchmarks.rows import load_row
from gmot.common import GmotError, write_json
from gmot.data.datamodule import PADDING, Batch
from gmot.model.checkpoint import (
    epoch_path,
    load_for_decoding,
    read_checkpoint,
    steps_in,
)
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.model.initial_weights import start_from
from gmot.teacher import FeatureStore
from gmot.text.tokens import TokenTable
from gmot.training.config import TrainingConfig
from gmot.training.dev import evaluate
from gmot.training.distributed import Process
from gmot.training.labels import Labels
from gmot.training.loss import LossModule
from gmot.training.trainer import Trainer

TOKENS = TokenTable.from_pieces("甲乙丙")
CONFIG = ModelConfig(
    vocab_size=len(TOKENS), num_features=8, d_model=16, num_heads=2, ffn_dim=32, num_layers=1,
    kernel_size=3, subsampling_channels=4, dropout=0.1,
)  # fmt: skip


class Batches(list):
    """What a Loader is to the trainer: here one batch per update."""

    order = "fixed"
    first = 0
    num_updates = property(len)

    def set_epoch(self, epoch, first_update=0):
        self.first = first_update

    def __iter__(self):
        return iter([self[i] for i in range(self.first, len(self))])

    def largest_batches(self):
        return [max(self, key=lambda batch: batch.features.numel())]


def utterance(name, text, frames=None):
    """Each character is 16 frames of a pattern of its own."""
    patterns = {"甲": [4.0, 0.0], "乙": [0.0, 4.0], "丙": [-4.0, -4.0]}
    features = torch.cat([torch.tensor(patterns[c]).repeat(16, 4) for c in text])
    features = features[:frames] + 0.1 * torch.randn(features[:frames].shape)
    ids = torch.tensor([TOKENS.encode(list(text))])
    return Batch(
        ids=[name],
        texts=[text],
        durations=[1.0],
        features=features[None],
        lengths=torch.tensor([len(features)]),
        labels=ids,
        label_lengths=torch.tensor([ids.size(1)]),
        teacher=None,
        teacher_lengths=None,
        update_size=1,
        ends_update=True,
    )


def joined(*batches, update_size=None):
    """One batch of all utterances."""
    rows = [row for batch in batches for row in batch.features]
    labels = [row for batch in batches for row in batch.labels]
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(
        ids=[name for b in batches for name in b.ids],
        texts=[text for b in batches for text in b.texts],
        durations=[x for b in batches for x in b.durations],
        features=pad(rows, batch_first=True, padding_value=PADDING),
        lengths=torch.cat([b.lengths for b in batches]),
        labels=pad(labels, batch_first=True),
        label_lengths=torch.cat([b.label_lengths for b in batches]),
        teacher=None,
        teacher_lengths=None,
        update_size=update_size or sum(map(len, batches)),
        ends_update=True,
    )


def with_teacher(batch, store):
    rows = [store.get(text) for text in batch.texts]
    batch.teacher = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).half()
    batch.teacher_lengths = torch.tensor([len(row) for row in rows])
    return batch


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
        "num_layers": 12,
        "units": "toy",
        "random_weights": False,
        "rows": int(ends[-1]),
    }
    write_json(folder / "index.json", index)
    return FeatureStore(folder)


def trainer(folder, dev=None, train=None, system="ctc", dropout=0.1, **options):
    torch.manual_seed(0)
    train = train or Batches([utterance("a", "甲乙"), utterance("b", "乙丙甲")])
    settings, config = load_row(system), replace(CONFIG, dropout=dropout)
    if settings.has_adapter and not settings.learns_from_teacher:
        config = replace(config, teacher_dim=6, adapter_scale=settings.adapter_scale)
    if settings.learns_from_teacher:
        store = teacher_store(folder, sorted({t for batch in train for t in batch.texts}))
        train = Batches([with_teacher(batch, store) for batch in train])
        # As many blocks as every third of them needs to be two.
        config = replace(
            config, num_layers=4, teacher_dim=store.dim, adapter_scale=settings.adapter_scale
        )
    values = dict(
        num_epochs=2, base_lr=0.01, warmup_steps=2, schedule="noam", weight_decay=0.0,
        clip_norm=5.0, keep_last=2,
    )  # fmt: skip
    training = TrainingConfig(**{**values, **options})
    return Trainer(
        module=LossModule(CtcModel(config), settings, None),
        training=training,
        config={"model": asdict(config), "training": asdict(training), "data": {"max_duration": 9}},
        labels=Labels(TOKENS, list),
        train_loader=train,
        dev_loader=dev or Batches(train),
        exp_dir=folder,
    )


def dev_scores(training):
    return evaluate(training.module, training.dev_loader, TOKENS, Process())[0]


def test_it_learns_and_keeps_the_last_and_the_best_checkpoints(tmp_path):
    training = trainer(tmp_path, num_epochs=40, keep_best=1)
    before = dev_scores(training)
    training.train()
    after = dev_scores(training)
    assert after["loss"] < 0.2 * before["loss"]
    assert after["cer"] == 0
    losses = read_checkpoint(tmp_path / "epoch-40.pt")["dev_losses"]
    best = min(losses, key=losses.get)
    kept = {f"epoch-{n}.pt" for n in ("39", "40", best)}
    assert {p.name for p in tmp_path.glob("*.pt")} == kept and len(losses) == 40
    assert load_for_decoding(tmp_path, average="best")[1]["epoch"] == 40


SYSTEMS = ("ctc", "gm_ot", "hcm", "hcm_last")


def equal_states(one, other):
    """Whether two checkpoints hold the same weights, moments and averages."""
    left, right = read_checkpoint(one), read_checkpoint(other)
    for key in ("model", "transfer", "ema"):
        assert list(left[key]) == list(right[key])
        assert all(torch.equal(v, right[key][k]) for k, v in left[key].items()), key
    for key in ("position", "dev", "dev_losses", "sums"):
        assert left[key] == right[key]
    moments = [state["optimizer"][0]["exp_avg"] for state in (left, right)]
    assert torch.equal(*moments)
    return left


@pytest.mark.parametrize("system", SYSTEMS)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, system):
    trainer(tmp_path / "whole", system=system, num_epochs=3).train()
    trainer(tmp_path / "parts", system=system, num_epochs=1).train()
    second = trainer(tmp_path / "parts", system=system, num_epochs=3)
    torch.manual_seed(123)  # another process has other numbers
    for parameter in second.module.parameters():
        parameter.data.normal_()
    second.resume()
    assert second.position.epoch == 1
    second.train()
    state = equal_states(tmp_path / "whole/epoch-3.pt", tmp_path / "parts/epoch-3.pt")
    assert bool(state["transfer"]) == system.startswith("hcm")


def many(count=7):
    torch.manual_seed(5)
    texts = ("甲乙", "乙丙甲", "丙", "丙甲", "乙", "甲", "乙丙")
    return Batches([utterance(f"u{i}", texts[i % len(texts)]) for i in range(count)])


def stop_after(training, step):
    """Train until a signal arrives at a step; the exit status."""
    original = training.updater.__class__.__call__

    class Updater(training.updater.__class__):
        def __call__(self, batches, place, rate):
            original(self, batches, place, rate)
            if place["step"] == step:
                training.stopped_by = "SIGTERM"

    training.updater.__class__ = Updater
    with pytest.raises(SystemExit) as stopped:
        training.train()
    return stopped.value.code


def test_stopped_five_times_within_epochs(tmp_path):
    trainer(tmp_path / "whole", train=many(), num_epochs=3).train()
    for step in (2, 3, 7, 11, 20):
        training = trainer(tmp_path / "parts", train=many(), num_epochs=3)
        training.resume()
        assert stop_after(training, step) == 75
        assert steps_in(tmp_path / "parts")[-1] == step
    training = trainer(tmp_path / "parts", train=many(), num_epochs=3)
    training.resume()
    training.train()
    equal_states(tmp_path / "whole/epoch-3.pt", tmp_path / "parts/epoch-3.pt")
    assert steps_in(tmp_path / "parts") == []


def test_checkpoints_by_steps_and_minutes(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer(tmp_path, train=many(), save_steps=3, num_epochs=1).train()
    written = [r.getMessage() for r in caplog.records if "step-" in r.getMessage()]
    assert ["step-3.pt" in written[0], "step-6.pt" in written[1], len(written)] == [True, True, 2]
    caplog.clear()
    options = dict(save_minutes=1e-9, log_interval=2, num_epochs=1)
    trainer(tmp_path / "b", train=many(), **options).train()
    assert sum("step-" in r.getMessage() for r in caplog.records) == 3


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    trainer(tmp_path, num_epochs=3).train()
    path = epoch_path(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:5000])
    training = trainer(tmp_path, num_epochs=3)
    training.resume()
    assert training.position.epoch == 2
    assert "epoch-3.pt" in caplog.text and "readable" in caplog.text
    epoch_path(tmp_path, 2).write_bytes(b"")
    with pytest.raises(GmotError, match="none of its"):
        trainer(tmp_path, num_epochs=3).resume()


def test_what_to_resume_from(tmp_path):
    trainer(tmp_path, num_epochs=2).train()
    training = trainer(tmp_path, num_epochs=2)
    training.resume(str(epoch_path(tmp_path, 1)))
    assert training.position.epoch == 1
    with pytest.raises(GmotError, match="epoch-2.pt"):
        trainer(tmp_path).resume("none")
    assert trainer(tmp_path / "new").resume("none") == []


def test_a_rate_may_change_and_is_noted(tmp_path, caplog):
    trainer(tmp_path, num_epochs=1).train()
    changes = trainer(tmp_path, num_epochs=2, base_lr=0.003).resume()
    assert changes == ["training.base_lr: 0.01 there, 0.003 here"]
    assert "training.base_lr" in caplog.text
    with pytest.raises(GmotError, match="training.seed"):
        trainer(tmp_path, num_epochs=2, seed=3).resume()


def test_an_epoch_of_other_batches_begins_anew(tmp_path):
    training = trainer(tmp_path, train=many())
    stop_after(training, 3)
    other = many()
    other.order = "others"
    resumed = trainer(tmp_path, train=other)
    resumed.resume()
    assert (resumed.position.update, resumed.position.step) == (0, 3)


def test_losses_do_not_depend_on_the_number_of_batches(tmp_path):
    """An update of four utterances in one batch, and accumulated over two and four."""
    parts = list(many(4))
    updates = [[joined(*parts)]]
    for groups in ([parts[:2], parts[2:]], [[p] for p in parts]):
        batches = [joined(*group, update_size=4) for group in groups]
        for batch in batches[:-1]:
            batch.ends_update = False
        updates.append(batches)
    found = []
    for number, batches in enumerate(updates):
        training = trainer(tmp_path / str(number), dropout=0.0, train=Batches(many(4)))
        for step in range(1, 6):
            training.updater(batches, {"epoch": 1, "update": step, "step": step}, 0.01)
        reading = training.updater.metrics.read(Process(), [])
        found.append([reading.means["loss"], reading.gradient_norm])
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("system", SYSTEMS[1:])
def test_transfer_is_learned_beside_the_model(tmp_path, system):
    training = trainer(tmp_path, system=system, num_epochs=8)
    before = [p.detach().clone() for p in training.module.parameters()]
    first = dev_scores(training)
    training.train()
    last = dev_scores(training)
    assert last["loss"] < first["loss"] and last["alignment"] < first["alignment"]
    assert not any(torch.equal(old, new) for old, new in zip(before, training.module.parameters()))
    couplings = evaluate(training.module, training.dev_loader, TOKENS, Process())[1]
    assert len(couplings) == 2 and len({c.id for c in couplings}) == 2
    for coupling in couplings:
        assert coupling.plan.sum().item() == pytest.approx(1, abs=1e-3)
        assert coupling.plan.size(1) == len(coupling.text) + 2


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_whole_gradient_is_clipped(tmp_path, system):
    training = trainer(tmp_path, system=system, clip_norm=1e-3)
    training.updater([training.train_loader[0]], {"epoch": 1, "update": 1, "step": 1}, 0.0)
    norms = torch.stack([p.grad.norm() for p in training.updater.parameters])
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
    batch, objective = training.train_loader[1], training.module.objective
    layers = objective.layers(4) if objective else ()
    training.module.eval()
    expected = training.module.model(batch.features, batch.lengths, layers=layers).log_probs
    for model in (decoded, started.eval()):
        assert torch.equal(model(batch.features, batch.lengths).log_probs, expected)
    averaged, _ = load_for_decoding(tmp_path, avg=2)
    assert list(averaged.state_dict()) == list(decoded.state_dict())


def test_the_running_average(tmp_path):
    """ema is sum_i w_i theta_i with the decays of its warm-up; without it, decoding refuses it."""
    training = trainer(tmp_path, num_epochs=2, ema_decay=0.9)
    start = {k: v.clone() for k, v in training.module.model.named_parameters()}
    expected = dict(start)
    original = training.ema.update

    def update(step):
        original(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in training.module.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()

    training.ema.update = update
    training.train()
    model, config = load_for_decoding(tmp_path, average="ema")
    assert (config["average"], config["epoch"]) == ("ema", 2)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, expected[name])
    last = load_for_decoding(tmp_path)[0]
    assert not torch.equal(last.head.weight, model.head.weight)
    trainer(tmp_path / "without", ema_decay=0.0).train()
    with pytest.raises(GmotError, match="epoch-2.pt.*ema_decay"):
        load_for_decoding(tmp_path / "without", average="ema")


def test_the_adapter_alone_needs_no_teacher(tmp_path, monkeypatch):
    """ctc_weight 1: no store, no transport, and the adapter learns by CTC."""
    import gmot.transfer.losses as losses

    for name in ("sinkhorn", "fused_gromov_wasserstein"):
        monkeypatch.setattr(losses, name, None)
    training = trainer(tmp_path, system="ctc_adapter", num_epochs=8)
    assert training.module.objective is None
    adapter = training.module.model.adapter
    before = [p.detach().clone() for p in adapter.parameters()]
    first = dev_scores(training)
    training.train()
    assert dev_scores(training)["loss"] < first["loss"]
    assert not any(torch.equal(old, new) for old, new in zip(before, adapter.parameters()))


def test_transport_that_does_not_converge_is_told(tmp_path, caplog):
    """By one warning, with its share."""
    training = trainer(tmp_path, system="cma_ot")
    training.module.config = replace(training.module.config, tolerance=0.0)
    training.train()
    warnings = [r for r in caplog.records if "converged" in r.getMessage()]
    assert len(warnings) == 1 and "100.0 %" in warnings[0].getMessage()


def test_the_line_of_an_epoch_fits_a_console(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer(tmp_path, system="gm_ot").train()
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch ")]
    assert len(lines) == 2
    for line in lines:
        assert all(name in line for name in ("loss", "alignment", "transport", "dev", "cer"))
        assert len(f"2026-01-01 00:00:00 INFO {line}") <= 120


def test_a_training_that_is_longer_already_is_refused(tmp_path):
    trainer(tmp_path, num_epochs=2).train()
    with pytest.raises(GmotError, match="epoch-2.pt.*num_epochs 1"):
        trainer(tmp_path, num_epochs=1).resume()


def test_dev_utterances_too_short_for_their_text_are_left_out_of_the_loss(tmp_path):
    good = utterance("good", "甲乙")
    short = utterance("short", "甲甲甲乙乙乙", frames=16)
    only_good = dev_scores(trainer(tmp_path, dev=Batches([good])))
    both = dev_scores(trainer(tmp_path, dev=Batches([good, short])))
    assert both["loss"] == pytest.approx(only_good["loss"])
    assert both["impossible"] == 0.5 and "impossible" not in only_good
    assert both["cer"] != only_good["cer"]  # they are scored
    assert dev_scores(trainer(tmp_path, dev=Batches([short])))["loss"] == float("inf")


def test_a_dev_part_without_utterances(tmp_path):
    training = trainer(tmp_path)
    training.dev_loader = Batches()
    with pytest.raises(GmotError, match="dev"):
        dev_scores(training)


@pytest.mark.parametrize("option", ["num_epochs", "keep_last", "clip_norm", "log_interval"])
def test_options_that_make_no_sense(tmp_path, option):
    with pytest.raises(GmotError, match=f"{option}.*0"):
        trainer(tmp_path, **{option: 0})
