"""Old speech beside new speech: its share, the samples of the epochs, what a batch then holds."""

import numpy as np
import pytest
import torch
from audio import write_part

from gmot.common import GmotError
from gmot.data.config import DataConfig, SpecAugmentConfig
from gmot.data.cuts import read_cuts
from gmot.data.datamodule import AsrDataModule
from gmot.data.features import compute_fbank
from gmot.data.manifests import prepare_manifests
from gmot.data.old_data import OldData, join_cuts
from gmot.data.sampling import TrainSampler, draw_old


@pytest.fixture
def old(tmp_path):
    """Twelve other utterances of a second each, in a corpus of its own."""
    folder = tmp_path / "old"
    write_part(folder / "corpus" / "train", [1.0] * 12, prefix="o")
    prepare_manifests(folder / "corpus", "before", ["train"], folder / "manifests")
    options = {"manifest_dir": folder / "manifests", "fbank_dir": folder / "fbank"}
    compute_fbank("before", "train", **options)
    return OldData(folder / "fbank", "before")


def module(fbank, old, share=0.5, seed=0, place=(0, 1), **options):
    config = DataConfig(
        **{"max_duration": 4.0, "old_share": share, **options},
        spec_augment=SpecAugmentConfig(enabled=False),
    )
    return AsrDataModule(fbank, "toy", config, seed, *place, old=old)


def epoch(loader, number, first_update=0):
    loader.set_epoch(number, first_update)
    return [batch.ids for batch in loader]


def flat(batches):
    return sorted(name for ids in batches for name in ids)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_sample_has_the_share_and_is_a_function_of_the_key(share):
    durations = np.random.default_rng(0).uniform(1, 5, 300).tolist()
    samples = [draw_old(durations, 100, share * 0.4, key) for key in ("1 1 old", "1 2 old")]
    for found in samples:
        assert found == sorted(set(found)) and min(found) >= 200
        seconds, new = sum(durations[i] for i in found), sum(durations[:200])
        assert 0 <= seconds - share * 0.4 * new < 5
    assert samples[0] == draw_old(durations, 100, share * 0.4, "1 1 old") != samples[1]


def test_more_than_there_is_takes_all_once_and_no_share_nothing():
    assert draw_old([1.0] * 5, 3, 9.0, "key") == [2, 3, 4]
    assert draw_old([1.0] * 5, 3, 0.0, "key") == []


def test_all_new_utterances_and_a_share_of_the_old(fbank, old):
    new = read_cuts(fbank, "toy", "train")
    loader = module(fbank, old).train_dataloader("train")
    first, again, second = (flat(epoch(loader, number)) for number in (1, 1, 2))
    assert first == again != second
    for ids in (first, second):
        drawn = [name for name in ids if name.startswith("o")]
        assert sorted(new.ids) == [name for name in ids if name not in drawn]
        assert 0 <= len(drawn) - 0.5 * new.durations.sum() < 1
    assert len(module(fbank, old, seed=1).train_dataloader("train")) > 0
    assert flat(epoch(module(fbank, old, seed=1).train_dataloader("train"), 1)) != first


def test_an_epoch_is_resumed_and_divided_among_processes(fbank, old):
    options = {"update_duration": 6.0}
    loader = module(fbank, old, **options).train_dataloader("train")
    whole = epoch(loader, 3)
    resumed = epoch(module(fbank, old, **options).train_dataloader("train"), 3, first_update=2)
    assert resumed and whole[-len(resumed) :] == resumed
    parts = [
        epoch(module(fbank, old, place=(rank, 2), **options).train_dataloader("train"), 3)
        for rank in (0, 1)
    ]
    assert flat(parts[0] + parts[1]) == flat(whole)


def test_the_order_tells_other_shares_and_other_old_data_apart(fbank, old):
    orders = [
        module(fbank, data, share).train_dataloader("train").order
        for data, share in ((None, 0.0), (old, 0.5), (old, 0.25))
    ]
    assert len(set(orders)) == 3
    assert orders[1] == module(fbank, old).train_dataloader("train").order


def test_batches_of_both_hold_their_features_and_texts(fbank, old):
    tables = [read_cuts(fbank, "toy", "train"), read_cuts(*old)]
    stored = {name: (t, row) for t in tables for row, name in enumerate(t.ids)}
    labels = {text: [1 + n] for n, text in enumerate({*tables[0].texts, *tables[1].texts})}
    loader = module(fbank, old).train_dataloader("train", None, labels.__getitem__)
    loader.set_epoch(1)
    for batch in loader:
        for n, name in enumerate(batch.ids):
            table, row = stored[name]
            features = torch.from_numpy(table.load_features(row))
            assert torch.equal(batch.features[n, : len(features)], features)
            assert batch.texts[n] == table.text(row)
            assert batch.labels[n].tolist() == labels[table.text(row)]
    joined = join_cuts(*tables, old)
    assert len(set(joined.texts)) == len(joined.texts)
    assert [joined[n] for n in range(len(joined))] == [cut for table in tables for cut in table]


def test_old_speech_that_is_all_excluded_or_of_other_features(fbank, old, tmp_path):
    with pytest.raises(GmotError, match=rf"utterances of {old.fbank_dir} are excluded"):
        module(fbank, old, max_utterance=0.9).train_dataloader(
            "train", lambda n: n // 4, lambda text: [1]
        )
    compute_fbank("before", "train", old.fbank_dir.parent / "manifests", tmp_path / "40", 40)
    with pytest.raises(GmotError, match="40 values, those of the new corpus .* of 80 values"):
        module(fbank, OldData(tmp_path / "40", "before")).train_dataloader("train")


def test_without_old_speech_nothing_changes():
    durations = np.random.default_rng(0).uniform(1, 5, 50).tolist()
    plain = TrainSampler(durations, DataConfig(max_duration=20.0), seed=1)
    mixed = TrainSampler(
        [*durations, 2.0], DataConfig(max_duration=20.0, old_share=0.0), seed=1, num_old=1
    )
    for sampler in (plain, mixed):
        sampler.set_epoch(4)
    assert [i.indices for i in plain] == [i.indices for i in mixed]
