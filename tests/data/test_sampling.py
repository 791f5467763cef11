"""Batches hold each utterance once, within the bound, with little padding."""

import random

import numpy as np
import pytest

from gmot.data.config import DataConfig
from gmot.data.sampling import BucketedBatches, Limits, TrainSampler, sorted_batches, split_update


def bucketed_batches(durations, bound, num_buckets, rng):
    return BucketedBatches(durations, Limits(bound), num_buckets)(rng)


def padding(batches, durations):
    """Share of padding in the seconds of all batches."""
    padded = sum(len(b) * max(durations[i] for i in b) for b in batches)
    return 1 - sum(durations) / padded


@pytest.mark.parametrize("seed", range(20))
def test_every_utterance_once_and_never_too_much(seed):
    rng = np.random.default_rng(seed)
    durations = rng.gamma(4, 1, size=rng.integers(1, 200)).tolist()
    bound = float(rng.uniform(2, 40))
    buckets = int(rng.integers(1, 15))
    for batches in (
        sorted_batches(durations, Limits(bound)),
        bucketed_batches(durations, bound, buckets, random.Random(seed)),
    ):
        assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(durations[i] for i in batch) <= bound


def test_buckets_spare_padding_and_leave_randomness():
    durations = np.random.default_rng(0).gamma(6, 0.5, size=2000).tolist()
    one, ten = (bucketed_batches(durations, 60, buckets, random.Random(0)) for buckets in (1, 10))
    assert padding(ten, durations) < 0.12 < 0.3 < padding(one, durations)
    # All batches but few are full: nothing is wasted on remainders of buckets.
    assert len(ten) < 1.15 * sum(durations) / 60
    again = bucketed_batches(durations, 60, 10, random.Random(1))
    mates = {i: set(batch) for batch in ten for i in batch}
    shared = [len(mates[i] & set(batch)) - 1 for batch in again for i in batch]
    assert np.mean(shared) < 6  # of about 20


def test_the_same_seed_gives_the_same_batches():
    durations = list(np.linspace(1, 5, 100))
    make = [bucketed_batches(durations, 30, 5, random.Random(seed)) for seed in (3, 3, 4)]
    assert make[0] == make[1] != make[2]


def test_sorted_batches_begin_with_the_longest():
    batches = sorted_batches([1.0, 5.0, 3.0, 5.0], Limits(10))
    assert batches == [[1, 3], [2, 0]]


def test_equal_durations_and_more_buckets_than_utterances():
    batches = bucketed_batches([2.0] * 3, 100, 10, random.Random(0))
    assert sorted(map(sorted, batches)) == [[0, 1, 2]]


def test_batches_of_the_first_edition():
    """A resumed training meets the batches that it would have met before."""
    durations = [round(1 + 0.37 * (7 * i % 20), 2) for i in range(20)]
    sampler = TrainSampler(durations, DataConfig(max_duration=15.0, num_buckets=3), seed=42)
    sampler.set_epoch(1)
    assert [item.indices for item in sampler] == [
        [17],
        [14],
        [19, 16],
        [1, 0, 18, 15],
        [10, 9, 12],
        [7, 3, 4],
        [6, 2],
        [11, 8],
        [13, 5],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_limits_of_padding_and_squares(seed):
    rng = np.random.default_rng(seed)
    durations = rng.gamma(4, 1, size=200).tolist()
    limits = Limits(40.0, max_padding=0.1, max_squared_duration=100.0)
    for batches in (
        sorted_batches(durations, limits),
        BucketedBatches(durations, limits, 5)(random.Random(seed)),
    ):
        assert sorted(i for batch in batches for i in batch) == list(range(200))
        for batch in batches:
            longest = max(durations[i] for i in batch)
            if len(batch) > 1:
                assert len(batch) * longest <= 40 and len(batch) * longest**2 <= 100
                assert 1 - sum(durations[i] for i in batch) / (len(batch) * longest) <= 0.1 + 1e-9


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_update_is_split_evenly_within_the_limits(seed, world_size):
    rng = np.random.default_rng(seed)
    durations = rng.gamma(4, 1, size=rng.integers(1, 80)).tolist()
    indices = range(len(durations))
    limits = Limits(float(rng.uniform(15, 60)))
    batches = split_update(indices, durations, limits, world_size)
    assert sorted(i for batch in batches for i in batch) == list(indices)
    fewest = len(sorted_batches(durations, limits))
    assert len(batches) == -(-fewest // world_size) * world_size
    assert sum(map(bool, batches)) == min(len(batches), len(durations))
    seconds = [len(b) * max(durations[i] for i in b) for b in batches if b]
    assert max(seconds) <= max(limits.max_duration, *durations)
    if len(durations) > 10 * len(batches):
        assert max(seconds) < 1.35 * np.mean(seconds)
