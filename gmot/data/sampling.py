"""Which utterances make a batch.

Batches are bounded by seconds, padding counted, as lhotse's samplers bound
them. Those themselves are not used: lhotse 1.33's cannot be constructed with
torch 1.13, its bucketing sampler ends an epoch with utterances left over when
it meets an empty bucket, and none knows how many batches an epoch has.
"""

import random
from typing import Iterable, List, Sequence


def sorted_batches(durations: Sequence[float], max_duration: float) -> List[List[int]]:
    """Batches of indices, the longest utterances first.

    The first batch is the one that needs most memory: if it does not suffice,
    that shows at once.
    """
    order = sorted(range(len(durations)), key=lambda i: (-durations[i], i))
    return _pack(order, durations, max_duration)


def bucketed_batches(
    durations: Sequence[float], max_duration: float, num_buckets: int, rng: random.Random
) -> List[List[int]]:
    """Shuffled batches of indices, each of utterances of similar duration.

    The utterances, from short to long, are divided into buckets of equal total
    duration and shuffled within them; then batches are filled, and shuffled in
    turn.

    Args:
      durations: of each utterance, in seconds.
      max_duration: number times longest duration of a batch; an utterance that
        is longer is a batch by itself.
      num_buckets: more make less padding, fewer more randomness.
      rng: decides everything.

    Returns:
      Batches that hold each index once.
    """
    order = sorted(range(len(durations)), key=lambda i: (durations[i], i))
    share = sum(durations) / max(1, num_buckets)
    buckets: List[List[int]] = [[]]
    filled = 0.0
    for index in order:
        # A bucket ends where its share of the total does; the last takes the rest.
        if filled >= share * len(buckets) and len(buckets) < num_buckets:
            buckets.append([])
        buckets[-1].append(index)
        filled += durations[index]
    for bucket in buckets:
        rng.shuffle(bucket)
    # Filling goes on across buckets, so that only one batch of an epoch is small.
    batches = _pack((i for bucket in buckets for i in bucket), durations, max_duration)
    rng.shuffle(batches)
    return batches


def _pack(order: Iterable[int], durations: Sequence[float], max_duration: float) -> List[List[int]]:
    batches: List[List[int]] = []
    longest = 0.0
    for index in order:
        longest = max(longest, durations[index])
        if batches and (len(batches[-1]) + 1) * longest <= max_duration:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = durations[index]
    return batches
