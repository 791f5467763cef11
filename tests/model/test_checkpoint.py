import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from gmot.common import GmotError
from gmot.model.checkpoint import (
    average_states,
    epoch_path,
    epochs_in,
    load_for_decoding,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.model.initial_weights import start_from
from gmot.text.tokens import TokenTable

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ModelConfig(
    vocab_size=5, d_model=16, num_heads=2, ffn_dim=16, num_layers=1, kernel_size=3,
    subsampling_channels=2,
)  # fmt: skip


def save_epoch(folder, epoch, model, **config):
    state = {"model": model.state_dict(), "config": {"model": asdict(model.config), **config}}
    save_checkpoint(epoch_path(folder, epoch), state)


def test_average_of_two_by_hand():
    a = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
    b = {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(5)}
    mean = average_states(iter([b, a]))
    assert mean["w"].tolist() == [2.0, 4.0]
    assert mean["n"].item() == 5  # integer buffers are not averaged
    assert a["w"].tolist() == [1.0, 2.0] and b["w"].tolist() == [3.0, 6.0]


def test_decoding_averages_the_epochs_asked_for(tmp_path):
    models = [CtcModel(CONFIG) for _ in range(3)]
    for epoch, model in enumerate(models, start=1):
        save_epoch(tmp_path, epoch, model)
    loaded, config = load_for_decoding(tmp_path, epoch=3, avg=2)
    expected = (models[1].head.weight + models[2].head.weight) / 2
    torch.testing.assert_close(loaded.head.weight, expected)
    assert (config["epoch"], config["avg"]) == (3, 2)
    assert not loaded.training
    assert load_for_decoding(tmp_path)[1]["epoch"] == 3


def test_missing_epochs_are_named(tmp_path):
    with pytest.raises(GmotError, match="no epoch-N.pt"):
        load_for_decoding(tmp_path)
    save_epoch(tmp_path, 4, CtcModel(CONFIG))
    with pytest.raises(GmotError, match=r"needs epochs \[3, 4\], \[3\] are not there"):
        load_for_decoding(tmp_path, epoch=4, avg=2)


def test_epochs_of_different_configurations_are_not_averaged(tmp_path):
    save_epoch(tmp_path, 1, CtcModel(CONFIG), tokens="abc")
    save_epoch(tmp_path, 2, CtcModel(CONFIG), tokens="xyz")
    with pytest.raises(GmotError, match="epoch-1.pt.*tokens.*abc.*xyz"):
        load_for_decoding(tmp_path, epoch=2, avg=2)


def test_unreadable_and_foreign_files(tmp_path):
    broken = tmp_path / "epoch-1.pt"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(GmotError, match="not a readable checkpoint"):
        read_checkpoint(broken)
    torch.save({"weights": 1}, broken)
    with pytest.raises(GmotError, match="not a checkpoint of gmot"):
        read_checkpoint(broken)


TOKENS = TokenTable.from_pieces("甲乙丙")


def test_a_training_starts_from_another(tmp_path):
    save_epoch(tmp_path, 1, CtcModel(CONFIG), tokens=TOKENS.fingerprint)
    path = epoch_path(tmp_path, 1)
    deeper = CtcModel(replace(CONFIG, num_layers=2))
    with pytest.raises(GmotError, match="missing.*encoder"):
        start_from(deeper, path, TOKENS)
    # An adapter may be new, and the statistics are those of the new features.
    shape = replace(CONFIG, teacher_dim=8)
    taught = CtcModel(shape, cmvn=(torch.full((80,), 3.0), torch.full((80,), 2.0)))
    start_from(taught, path, TOKENS)
    for name, value in read_checkpoint(path)["model"].items():
        if not name.startswith("feature_"):
            assert torch.equal(taught.state_dict()[name], value), name
    assert taught.feature_mean[0] == 3.0 and taught.feature_std[0] == 2.0


@pytest.mark.parametrize("width", [6, None])
def test_an_adapter_of_another_width_is_left_out(tmp_path, width, caplog):
    source = CtcModel(replace(CONFIG, teacher_dim=4))
    save_epoch(tmp_path, 1, source)
    model = CtcModel(replace(CONFIG, teacher_dim=width))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    start_from(model, epoch_path(tmp_path, 1), TOKENS)
    for name, value in model.state_dict().items():
        kept = name.startswith(("adapter.", "feature_"))
        assert torch.equal(value, before[name] if kept else source.state_dict()[name]), name
    assert "teacher of 4 values is left out" in caplog.text
    assert ("one of 6 begins anew" if width else "the model has none") in caplog.text


def test_weights_of_one_file(tmp_path):
    model = CtcModel(CONFIG)
    state = {"model": model.state_dict(), "config": {"model": asdict(CONFIG), "epoch": 7, "avg": 3}}
    save_checkpoint(tmp_path / "average.pt", state)
    loaded, config = load_weights(tmp_path / "average.pt")
    assert torch.equal(loaded.head.weight, model.head.weight) and not loaded.training
    assert (config["epoch"], config["avg"], config["average"]) == (7, 3, "last")
    save_epoch(tmp_path, 4, model)
    assert load_weights(epoch_path(tmp_path, 4))[1]["avg"] == 1


def test_outputs_of_shared_tokens_are_taken_over(tmp_path):
    save_epoch(tmp_path, 1, CtcModel(CONFIG), tokens=TOKENS.fingerprint)
    path = epoch_path(tmp_path, 1)
    other = TokenTable.from_pieces("丁丙甲己")
    model = CtcModel(replace(CONFIG, vocab_size=len(other)))
    before = model.head.weight.clone()
    with pytest.raises(GmotError, match="other tokens.*--init-lang-dir"):
        start_from(model, path, other)
    with pytest.raises(GmotError, match="was trained with tokens"):
        start_from(model, path, other, checkpoint_tokens=other)
    start_from(model, path, other, checkpoint_tokens=TOKENS)
    theirs = read_checkpoint(path)["model"]
    for token, row in other.ids.items():
        expected = theirs["head.weight"][TOKENS.ids[token]] if token in TOKENS else before[row]
        assert torch.equal(model.head.weight[row], expected), token
    name = next(n for n in theirs if n.startswith("encoder.") and n.endswith("weight"))
    assert torch.equal(model.state_dict()[name], theirs[name])


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = epoch_path(tmp_path, 1)
    save_checkpoint(path, {"model": {}, "config": {}})

    class Unpicklable:
        def __reduce__(self):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        save_checkpoint(path, {"model": Unpicklable(), "config": {}})
    assert read_checkpoint(path) == {"model": {}, "config": {}}
    assert epochs_in(tmp_path) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-1.pt"]


MEASURE = """
import resource, sys, torch
from gmot.model.checkpoint import load_for_decoding
peaks = []
for avg in (1, 10):
    load_for_decoding(sys.argv[1], avg=avg)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) / 1024)
"""


@pytest.mark.integration
def test_averaging_takes_the_memory_of_one_checkpoint(tmp_path):
    """Ten of 12 MB, most of it the optimizer's: at once they would be 108 MB more than one."""
    for epoch in range(1, 11):
        state = {"model": CtcModel(CONFIG).state_dict(), "config": {"model": asdict(CONFIG)}}
        save_checkpoint(epoch_path(tmp_path, epoch), {**state, "optimizer": torch.ones(3 << 20)})
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120},
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 36


def test_absolute_positions_are_loaded_averaged_and_started_from(tmp_path):
    shape = replace(CONFIG, positions="absolute")
    models = [CtcModel(shape) for _ in range(2)]
    for epoch, model in enumerate(models, start=1):
        save_epoch(tmp_path, epoch, model, tokens=TOKENS.fingerprint)
    loaded, config = load_for_decoding(tmp_path, avg=2)
    assert loaded.config.positions == config["model"]["positions"] == "absolute"
    weight = "encoder.blocks.0.attention.in_proj_weight"
    expected = sum(model.state_dict()[weight] for model in models) / 2
    torch.testing.assert_close(loaded.state_dict()[weight], expected)
    start_from(CtcModel(shape), epoch_path(tmp_path, 1), TOKENS)
    with pytest.raises(GmotError, match="epoch-1.pt.*does not fit"):
        start_from(CtcModel(CONFIG), epoch_path(tmp_path, 1), TOKENS)
