"""Batches hold what is stored; an epoch is a function of (seed, epoch) alone."""

import random

import numpy as np
import pytest
import torch

from gmot.common import GmotError
from gmot.data.config import DataConfig, SpecAugmentConfig
from gmot.data.datamodule import PADDING, AsrDataModule
from gmot.data.features import load_cuts

AUGMENTED = SpecAugmentConfig(p=1.0)


def module(fbank, seed=0, spec_augment=None, **options):
    augment = spec_augment or SpecAugmentConfig(enabled=False)
    config = DataConfig(**{"max_duration": 4.0, **options}, spec_augment=augment)
    return AsrDataModule(fbank, "toy", config, seed)


def epoch(loader, number):
    loader.set_epoch(number)
    return [(batch.ids, batch.features) for batch in loader]


def same(a, b):
    return len(a) == len(b) and all(
        ids == other and torch.equal(x, y) for (ids, x), (other, y) in zip(a, b)
    )


def test_batches_hold_the_stored_features(fbank):
    stored = {cut.id: cut for cut in load_cuts(fbank, "toy", "train")}
    data = module(fbank)
    seen = []
    for batch in data.train_dataloader("train"):
        assert batch.features.dtype == torch.float32 and batch.lengths.dtype == torch.int64
        assert batch.features.shape[:2] == (len(batch), int(batch.lengths.max()))
        assert len(batch) * max(batch.durations) <= 4.0
        for i, key in enumerate(batch.ids):
            frames = int(batch.lengths[i])
            expected = torch.from_numpy(stored[key].load_features())
            assert torch.equal(batch.features[i, :frames], expected)
            assert torch.all(batch.features[i, frames:] == PADDING)
            assert batch.texts[i] == stored[key].supervisions[0].text
            assert batch.durations[i] == stored[key].duration
        seen += batch.ids
    assert sorted(seen) == sorted(stored)
    assert len(data.cuts("train")) == 18


@pytest.mark.integration  # loading processes
def test_an_epoch_depends_on_seed_and_number_alone(fbank):
    options = {"spec_augment": AUGMENTED, "seed": 7}
    first = module(fbank, **options).train_dataloader("train")
    epochs = [epoch(first, number) for number in (0, 1, 2)]
    assert not same(epochs[1], epochs[2]) and epochs[1][0][0] != epochs[2][0][0]

    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    resumed = module(fbank, **options).train_dataloader("train")
    assert same(epoch(resumed, 2), epochs[2])  # nothing was read before
    in_workers = module(fbank, num_workers=2, **options).train_dataloader("train")
    assert same(epoch(in_workers, 2), epochs[2])
    assert same(epoch(in_workers, 1), epochs[1])
    other = module(fbank, spec_augment=AUGMENTED, seed=8).train_dataloader("train")
    assert not same(epoch(other, 2), epochs[2])


def test_augmentation_does_not_depend_on_batch_mates(fbank):
    augmented = {}
    for bound in (2.0, 30.0):
        loader = module(
            fbank, spec_augment=SpecAugmentConfig(), max_duration=bound
        ).train_dataloader()
        for batch in loader:
            for i, key in enumerate(batch.ids):
                features = batch.features[i, : batch.lengths[i]]
                assert torch.equal(augmented.setdefault(key, features), features)
    assert len(augmented) == 18


def test_evaluation_is_everything_in_order_without_augmentation(fbank):
    loader = module(fbank, spec_augment=AUGMENTED, max_duration=2.0).eval_dataloader("dev")
    batches = list(loader)
    assert len(loader) == len(batches) == 2
    assert [key for batch in batches for key in batch.ids] == ["d001", "d000", "d002"]
    stored = {cut.id: cut.load_features() for cut in load_cuts(fbank, "toy", "dev")}
    assert torch.equal(batches[0].features[0], torch.from_numpy(stored["d001"]))
    assert same(epoch(loader, 3), epoch(loader, 4))


def test_training_leaves_out_what_ctc_cannot_align(fbank, tmp_path):
    report = tmp_path / "left_out.txt"
    loader = module(fbank, min_utterance=0.6).train_dataloader(
        "train", lambda frames: frames // 4, lambda text: list(text) * 6, report
    )
    left = {line.split("\t")[0] for line in report.read_text().splitlines()[1:]}
    kept = {key for batch in loader for key in batch.ids}
    # 24 tokens or more need more frames than 0.9 s have; 0.5 s is too short.
    assert {"t000", "t000_sp0.9", "t000_sp1.1", "t002_sp1.1"} <= left
    assert kept and not kept & left and len(kept | left) == 18 == loader.num_utterances + len(left)


def test_a_truncated_archive_is_an_error_that_names_the_utterance(fbank):
    archive = fbank / "toy_feats_dev" / "shard-000.f16"
    archive.write_bytes(archive.read_bytes()[:20000])
    with pytest.raises(GmotError, match="'d00.'.*shard-000.f16"):
        list(module(fbank).eval_dataloader("dev"))


def test_a_module_of_a_configuration(fbank):
    config = DataConfig(max_duration=9.0, spec_augment=SpecAugmentConfig(time_warp_factor=5))
    loader = AsrDataModule(fbank, "toy", config, seed=3).train_dataloader("train")
    assert loader.augment.args == (config.spec_augment,)
    assert (loader.config.max_duration, loader.seed) == (9.0, 3)
    config = DataConfig(spec_augment=SpecAugmentConfig(enabled=False))
    assert AsrDataModule(fbank, "toy", config).train_dataloader("train").augment is None
