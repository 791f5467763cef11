"""Batches hold what is stored; an epoch is a function of (seed, epoch) alone."""

import multiprocessing
import random
import subprocess

import numpy as np
import pytest
import torch

from gmot.common import GmotError
from gmot.data.config import DataConfig, SpecAugmentConfig
from gmot.data.datamodule import PADDING, AsrDataModule
from gmot.data.features import load_cuts

AUGMENTED = SpecAugmentConfig(p=1.0)


def module(fbank, seed=0, spec_augment=None, rank=0, world_size=1, **options):
    augment = spec_augment or SpecAugmentConfig(enabled=False)
    config = DataConfig(**{"max_duration": 4.0, **options}, spec_augment=augment)
    return AsrDataModule(fbank, "toy", config, seed, rank, world_size)


def epoch(loader, number, first_update=0):
    loader.set_epoch(number, first_update)
    return [(batch.ids, batch.features) for batch in loader]


def updates(loader, number):
    """Utterances of each update of one process."""
    loader.set_epoch(number)
    found = [[]]
    for batch in loader:
        found[-1] += batch.ids
        if batch.ends_update:
            found.append([])
    assert found.pop() == []
    return found


def same(a, b):
    return len(a) == len(b) and all(
        ids == other and torch.equal(x, y) for (ids, x), (other, y) in zip(a, b)
    )


def labels(text):
    return [ord(c) % 7 + 1 for c in text]


def teacher(text):
    return np.outer(labels(text), [1.0, 0.5, 0.25]).astype(np.float16)


def test_batches_hold_the_stored_features(fbank):
    stored = {cut.id: cut for cut in load_cuts(fbank, "toy", "train")}
    data = module(fbank)
    seen = []
    for batch in data.train_dataloader("train", labels=labels, teacher=teacher):
        assert batch.features.dtype == torch.float32 and batch.lengths.dtype == torch.int64
        assert batch.features.shape[:2] == (len(batch), int(batch.lengths.max()))
        assert batch.labels.dtype == torch.int64 and batch.teacher.dtype == torch.float16
        assert len(batch) * max(batch.durations) <= 4.0
        assert batch.update_size == len(batch) and batch.ends_update
        for i, key in enumerate(batch.ids):
            frames = int(batch.lengths[i])
            expected = torch.from_numpy(stored[key].load_features())
            assert torch.equal(batch.features[i, :frames], expected)
            assert torch.all(batch.features[i, frames:] == PADDING)
            text = stored[key].supervisions[0].text
            assert batch.texts[i] == text
            assert batch.durations[i] == stored[key].duration
            assert batch.labels[i, : batch.label_lengths[i]].tolist() == labels(text)
            rows = batch.teacher[i, : batch.teacher_lengths[i]]
            assert torch.equal(rows, torch.from_numpy(teacher(text)))
            assert not batch.labels[i, batch.label_lengths[i] :].any()
            assert not batch.teacher[i, batch.teacher_lengths[i] :].any()
        seen += batch.ids
    assert sorted(seen) == sorted(stored)
    assert len(data.cuts("train")) == 18


def test_columns_hold_what_the_manifest_does(fbank):
    stored = load_cuts(fbank, "toy", "train")
    data = module(fbank)
    cuts = data.cuts("train")
    assert [cut.id for cut in cuts] == [cut.id for cut in stored]
    for row, (cut, expected) in enumerate(zip(cuts, stored)):
        supervision = expected.supervisions[0]
        assert (cut.text, cut.speaker) == (supervision.text, supervision.speaker)
        assert (cut.duration, cut.num_frames) == (expected.duration, expected.num_frames)
        assert cut.num_features == 80
        assert np.array_equal(cuts.load_features(row), expected.load_features())
    texts = [cut.supervisions[0].text for cut in stored]
    assert [cuts.text(row) for row in range(len(cuts))] == texts
    assert len(cuts.texts) == len(set(cuts.texts)) == 4 and cuts[-1] == cuts[17]
    with pytest.raises(IndexError):
        cuts[18]


@pytest.mark.integration  # loading processes
def test_an_epoch_depends_on_seed_and_number_alone(fbank):
    options = {"spec_augment": AUGMENTED, "seed": 7}
    first = module(fbank, **options).train_dataloader("train")
    epochs = [epoch(first, number) for number in (0, 1, 2)]
    assert not same(epochs[1], epochs[2]) and epochs[1][0][0] != epochs[2][0][0]

    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    state = torch.get_rng_state()
    resumed = module(fbank, **options).train_dataloader("train")
    assert same(epoch(resumed, 2), epochs[2])  # nothing was read before
    in_workers = module(fbank, num_workers=2, **options).train_dataloader("train", None, labels)
    assert same(epoch(in_workers, 2), epochs[2])
    assert same(epoch(in_workers, 1), epochs[1])
    for _ in in_workers:  # left early
        break
    assert same(epoch(in_workers, 2, first_update=3), epochs[2][3:])
    assert torch.equal(torch.get_rng_state(), state)
    other = module(fbank, spec_augment=AUGMENTED, seed=8).train_dataloader("train")
    assert not same(epoch(other, 2), epochs[2])


@pytest.mark.parametrize("bound", [None, 6.0])
def test_updates_are_those_of_one_process(fbank, bound):
    """The union over two processes; without update_duration, of pairs of batches."""
    options = {"update_duration": bound, "max_duration": 2.0, "seed": 3}
    alone = module(fbank, **options).train_dataloader("train")
    pair = [
        module(fbank, rank=rank, world_size=2, **options).train_dataloader("train")
        for rank in (0, 1)
    ]
    for number in (1, 2):
        whole, *parts = [updates(loader, number) for loader in (alone, *pair)]
        if bound is None:
            whole = [sum(whole[i : i + 2], []) for i in range(0, len(whole), 2)]
        assert [sorted(a + b) for a, b in zip(*parts)] == [sorted(ids) for ids in whole]
        assert [loader.num_updates for loader in pair] == [len(whole)] * 2
        assert len(parts[0]) == len(parts[1]) and len(pair[0]) == len(pair[1])
        for loader in (alone, *pair):
            assert loader.num_utterances == 18
            loader.set_epoch(number, first_update=2)
            resumed = [batch.ids for batch in loader]
            loader.set_epoch(number)
            every = [batch.ids for batch in loader]
            assert len(every) == len(loader) and resumed == every[len(every) - len(resumed) :]
    assert (alone.order == pair[0].order) == (bound is not None)
    assert pair[0].order == pair[1].order


def test_an_update_of_fewer_utterances_than_processes(fbank):
    options = {"update_duration": 1.2, "world_size": 3}
    loaders = [
        module(fbank, rank=rank, **options).train_dataloader("train", None, labels, teacher)
        for rank in range(3)
    ]
    for batches in zip(*loaders):
        assert [batch.ends_update for batch in batches] == [True] * 3
        assert {batch.update_size for batch in batches} == {sum(map(len, batches))}
        empty = [batch for batch in batches if not len(batch)]
        assert empty and all(batch.features.shape == (0, 0, 80) for batch in empty)
        assert all(batch.to("cpu").pin_memory() is not None for batch in empty)


def test_the_order_follows_what_determines_it(fbank):
    def order(**options):
        return module(fbank, **options).train_dataloader("train").order

    assert order() == order(num_workers=2)
    assert len({order(), order(seed=1), order(max_duration=5.0), order(max_padding=0.1)}) == 4
    assert order(update_duration=9.0) == order(update_duration=9.0, max_duration=5.0, world_size=2)


def test_halves_and_copies_of_a_batch(fbank):
    loader = module(fbank, max_duration=30.0).train_dataloader("train", None, labels, teacher)
    batch = next(iter(loader))
    first, second = batch.halves()
    assert first.ids + second.ids == batch.ids and abs(len(first) - len(second)) <= 1
    assert (first.ends_update, second.ends_update) == (False, True)
    for half, start in ((first, 0), (second, len(first))):
        assert half.update_size == batch.update_size
        for name, lengths in (
            ("features", "lengths"), ("labels", "label_lengths"), ("teacher", "teacher_lengths"),
        ):  # fmt: skip
            part, whole = getattr(half, name), getattr(batch, name)
            size = int(getattr(half, lengths).max())
            assert torch.equal(part, whole[start : start + len(half), :size])
    moved = batch.to("cpu")
    assert moved.texts == batch.texts and torch.equal(moved.teacher, batch.teacher)


def test_largest_batches_come_first(fbank):
    loader = module(fbank, max_duration=4.0).train_dataloader("train", None, labels, teacher)
    largest = loader.largest_batches()
    longest = max(loader.dataset.durations)
    assert max(largest[0].durations) == longest
    assert len({tuple(batch.ids) for batch in largest}) == len(largest) <= 3
    bound = max(b.features.shape[0] * b.features.shape[1] for b in largest)
    for number in range(5):
        loader.set_epoch(number)
        assert max(b.features.shape[0] * b.features.shape[1] for b in loader) <= 1.1 * bound
    small = module(fbank, max_duration=9.0, update_duration=3.0).train_dataloader("train")
    assert all(len(b) * max(b.durations) <= 3.0 for b in small.largest_batches())


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
    assert all(batch.ends_update and batch.labels is None for batch in batches)
    shards = [
        module(fbank, max_duration=2.0, rank=rank, world_size=2).eval_dataloader("dev", labels)
        for rank in (0, 1)
    ]
    assert [b.ids for shard in shards for b in shard] == [batch.ids for batch in batches]
    assert [shard.num_utterances for shard in shards] == [3, 3]
    assert next(iter(shards[0])).labels.shape[0] == len(batches[0])
    stored = {cut.id: cut.load_features() for cut in load_cuts(fbank, "toy", "dev")}
    assert torch.equal(batches[0].features[0], torch.from_numpy(stored["d001"]))
    assert same(epoch(loader, 3), epoch(loader, 4))


def test_training_leaves_out_what_ctc_cannot_align(fbank, tmp_path):
    report = tmp_path / "left_out.txt"
    loader = module(fbank, min_utterance=0.6).train_dataloader(
        "train", lambda frames: frames // 4, lambda text: labels(text) * 6, report=report
    )
    left = {line.split("\t")[0] for line in report.read_text().splitlines()[1:]}
    kept = {key for batch in loader for key in batch.ids}
    # 24 tokens or more need more frames than 0.9 s have; 0.5 s is too short.
    assert {"t000", "t000_sp0.9", "t000_sp1.1", "t002_sp1.1"} <= left
    assert kept and not kept & left and len(kept | left) == 18 == loader.num_utterances + len(left)


def test_a_truncated_archive_is_an_error_that_names_the_utterance(fbank):
    archive = fbank / "toy_feats_dev" / "shard-000.f16"
    archive.write_bytes(archive.read_bytes()[:20000])
    with pytest.raises(GmotError, match="'d00.'.*shard-000.f16.*20000 bytes, expected"):
        list(module(fbank).eval_dataloader("dev"))


def test_a_vanished_file_is_an_error_that_names_the_utterance(fbank):
    loader = module(fbank).train_dataloader("train")
    (fbank / "toy_feats_train" / "shard-000.f16").unlink()
    with pytest.raises(GmotError, match="'t00.*toy_feats_train.*fbank stage"):
        list(loader)


@pytest.mark.integration  # loading processes
def test_loading_processes_leave_signals_to_the_training(fbank):
    loader = module(fbank, num_workers=2, max_duration=2.0).train_dataloader("train")
    expected = [batch.ids for batch in module(fbank, max_duration=2.0).train_dataloader("train")]
    batches = iter(loader)
    seen = [next(batches).ids]
    workers = [str(child.pid) for child in multiprocessing.active_children()]
    assert len(workers) == 2
    for name in ("-TERM", "-INT"):  # from another process than the training
        subprocess.run(["kill", name, *workers], check=True)
    assert seen + [batch.ids for batch in batches] == expected
    processes = multiprocessing.active_children()
    del batches, loader
    for process in processes:
        process.join(10)
        assert process.exitcode == 0


def test_a_module_of_a_configuration(fbank):
    config = DataConfig(max_duration=9.0, spec_augment=SpecAugmentConfig(time_warp_factor=5))
    loader = AsrDataModule(fbank, "toy", config, seed=3).train_dataloader("train")
    assert loader.dataset.augment.args == (config.spec_augment,)
    assert (loader.config.max_duration, loader.dataset.seed) == (9.0, 3)
    config = DataConfig(spec_augment=SpecAugmentConfig(enabled=False))
    loader = AsrDataModule(fbank, "toy", config).train_dataloader("train")
    assert loader.dataset.augment is None
