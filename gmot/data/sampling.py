"""Assignment of utterances to batches.

Batches are bounded by seconds including padding, as in lhotse's samplers. Those are not used:
lhotse 1.33's cannot be constructed with torch 1.13, its bucketing sampler ends an epoch early when
it meets an empty bucket, and none knows how many batches an epoch has.
"""

import random
from collections.abc import Iterable, Sequence


def sorted_batches(durations: Sequence[float], max_duration: float) -> list[list[int]]:
    """Batches of indices, the longest utterances first: lack of memory shows at once."""
    order = sorted(range(len(durations)), key=lambda i: (-durations[i], i))
    return _pack(order, durations, max_duration)


def bucketed_batches(
    durations: Sequence[float], max_duration: float, num_buckets: int, rng: random.Random
) -> list[list[int]]:
    """Shuffled batches of indices, each of utterances of similar duration.

    Utterances are sorted by duration, divided into buckets of equal total duration and shuffled
    within buckets; the batches filled from them are shuffled. More buckets give less padding, fewer
    give more randomness.

    Args:
      durations: seconds per utterance.
      max_duration: bound of utterances times longest duration; a longer utterance is a batch of
        its own.
    """
    order = sorted(range(len(durations)), key=lambda i: (durations[i], i))
    share = sum(durations) / max(1, num_buckets)
    buckets: list[list[int]] = [[]]
    filled = 0.0
    for index in order:
        # A bucket ends where its share of the total does; the last takes the rest.
        if filled >= share * len(buckets) and len(buckets) < num_buckets:
            buckets.append([])
        buckets[-1].append(index)
        filled += durations[index]
    for bucket in buckets:
        rng.shuffle(bucket)
    # Batches may cross buckets, so that only one batch per epoch is small.
    batches = _pack((i for bucket in buckets for i in bucket), durations, max_duration)
    rng.shuffle(batches)
    return batches


def _pack(order: Iterable[int], durations: Sequence[float], max_duration: float) -> list[list[int]]:
    batches: list[list[int]] = []
    longest = 0.0
    for index in order:
        longest = max(longest, durations[index])
        if batches and (len(batches[-1]) + 1) * longest <= max_duration:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = durations[index]
    return batches
