"""Assignment of utterances to updates, batches and processes.

An update is one step of the optimizer. Its utterances are a function of (seed, epoch, utterances,
configuration) alone, so that a resumed training equals an uninterrupted one.

Batches are bounded by seconds including padding, as in lhotse's samplers. Those are not used:
lhotse 1.33's cannot be constructed with torch 1.13, its bucketing sampler ends an epoch early when
it meets an empty bucket, none knows how many batches an epoch has, and none divides an update of
given size.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gmot.data.config import DataConfig

BISECTIONS = 12  # steps towards batches of equal size


@dataclass(frozen=True)
class Limits:
    """Bounds of a batch. An utterance that exceeds them is a batch of its own."""

    max_duration: float  # utterances times longest duration, in seconds
    max_padding: float | None = None  # share of padding in a batch
    max_squared_duration: float | None = None  # utterances times longest duration squared

    def allow(self, count: int, longest: float, total: float) -> bool:
        """Whether ``count`` utterances of ``total`` seconds may be a batch."""
        padded = count * longest
        return (
            padded <= self.max_duration
            and (self.max_padding is None or padded - total <= self.max_padding * padded)
            and (self.max_squared_duration is None or padded * longest <= self.max_squared_duration)
        )


def sorted_batches(durations: Sequence[float], limits: Limits) -> list[list[int]]:
    """Batches of indices, the longest utterances first: lack of memory shows at once."""
    return _pack(by_length(range(len(durations)), durations), durations, limits)


def by_length(indices: Iterable[int], durations: Sequence[float]) -> list[int]:
    """Indices, those of the longest utterances first."""
    return sorted(indices, key=lambda i: (-durations[i], i))


class BucketedBatches:
    """Shuffled batches of indices, each of utterances of similar duration.

    Utterances are sorted by duration, divided into buckets of equal total duration and shuffled
    within buckets; the batches filled from them are shuffled. More buckets give less padding, fewer
    give more randomness.

    Args:
      durations: seconds per utterance.
      limits: of the batches.
      indices: of the utterances in use, ascending; None: all.
    """

    def __init__(
        self,
        durations: Sequence[float],
        limits: Limits,
        num_buckets: int,
        indices: Sequence[int] | None = None,
    ):
        self.durations, self.limits = durations, limits
        used = np.arange(len(durations)) if indices is None else np.asarray(indices)
        order = used[np.argsort(np.asarray(durations)[used], kind="stable")].tolist()
        share = sum(durations[i] for i in used.tolist()) / max(1, num_buckets)
        self._buckets: list[list[int]] = [[]]
        filled = 0.0
        for index in order:
            # A bucket ends where its share of the total does; the last takes the rest.
            if filled >= share * len(self._buckets) and len(self._buckets) < num_buckets:
                self._buckets.append([])
            self._buckets[-1].append(index)
            filled += durations[index]

    def __call__(self, rng: random.Random) -> list[list[int]]:
        """Batches of an epoch."""
        buckets = [bucket.copy() for bucket in self._buckets]
        for bucket in buckets:
            rng.shuffle(bucket)
        # Batches may cross buckets, so that only one batch per epoch is small.
        order = (i for bucket in buckets for i in bucket)
        batches = _pack(order, self.durations, self.limits)
        rng.shuffle(batches)
        return batches


def _pack(order: Iterable[int], durations: Sequence[float], limits: Limits) -> list[list[int]]:
    batches: list[list[int]] = []
    longest = total = 0.0
    for index in order:
        seconds = durations[index]
        longest, total = max(longest, seconds), total + seconds
        if batches and limits.allow(len(batches[-1]) + 1, longest, total):
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = total = seconds
    return batches


def split_update(
    indices: Sequence[int], durations: Sequence[float], limits: Limits, world_size: int
) -> list[list[int]]:
    """Batches of an update, about equally large, ``world_size`` of them or a multiple.

    Their number is the smallest multiple that the limits permit; with fewer utterances than that,
    the last ones are empty.
    """
    order = by_length(indices, durations)
    batches = _pack(order, durations, limits)
    multiple = -(-len(batches) // world_size) * world_size
    number = min(multiple, len(order))
    low, high = 0.0, max(_padded(batch, durations) for batch in batches)
    for _ in range(BISECTIONS if number > 1 else 0):
        middle = (low + high) / 2
        smaller = replace(limits, max_duration=min(limits.max_duration, middle))
        found = _pack(order, durations, smaller)
        if len(found) <= number:
            high, batches = middle, found
        else:
            low = middle
    while len(batches) < number:
        largest = max(
            (n for n, batch in enumerate(batches) if len(batch) > 1),
            key=lambda n: _padded(batches[n], durations),
        )
        batch = batches[largest]
        middle = len(batch) // 2
        batches[largest : largest + 1] = [batch[:middle], batch[middle:]]
    return batches + [[] for _ in range(multiple - number)]


def _padded(batch: Sequence[int], durations: Sequence[float]) -> float:
    """Seconds of a batch, padding included."""
    return len(batch) * max(durations[i] for i in batch)


@dataclass(frozen=True)
class Item:
    """Batch of a process, to be loaded."""

    epoch: int
    indices: list[int]
    update_size: int  # utterances of its update, in all processes
    ends_update: bool  # last batch of its update in this process


class Sampler(Iterable[Item]):
    """Batches of a process in an epoch, which :meth:`set_epoch` selects."""

    num_updates: int  # of the epoch, over all processes
    num_batches: int  # of this process in the epoch
    determinants: tuple  # of the updates of an epoch

    def set_epoch(self, epoch: int, first_update: int = 0) -> None:
        self.epoch, self.first_update = epoch, first_update


def draw_old(durations: Sequence[float], num_old: int, share: float, key: str) -> list[int]:
    """A sample, ascending, of the last ``num_old`` utterances, without replacement.

    It is the first of a random order, a function of ``key``, as many as have ``share`` times the
    duration of the other utterances; all if they have less.
    """
    first = len(durations) - num_old
    wanted, order = share * sum(durations[:first]), list(range(first, len(durations)))
    random.Random(key).shuffle(order)
    totals = np.cumsum([0.0, *(durations[i] for i in order)])
    return sorted(order[: int(np.searchsorted(totals, wanted - 1e-9))])


class TrainSampler(Sampler):
    """Updates of shuffled utterances; see :class:`DataConfig`.

    ``num_old``: the last utterances are old ones, of which an epoch has a share (``old_share``).
    """

    def __init__(
        self,
        durations: Sequence[float],
        config: DataConfig,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        num_old: int = 0,
    ):
        self.durations, self.limits, self.seed = durations, limits_of(config), seed
        self.num_old, self.old_share = num_old, config.old_share
        self.rank, self.world_size = rank, world_size
        self.divided = config.update_duration is not None
        whole = self.limits
        self.determinants = (seed, config.num_buckets, "batches", whole, world_size)
        if config.update_duration is not None:
            whole = Limits(config.update_duration)
            self.determinants = (seed, config.num_buckets, "updates", whole)
        if num_old:
            self.determinants += (num_old, config.old_share)
        self._whole, self._num_buckets = whole, config.num_buckets
        self._shuffled: tuple[int | None, list[list[int]]] = (None, [])

    @property
    def _groups(self) -> list[list[int]]:
        """Updates of the epoch, or its batches where each is of one process."""
        if self._shuffled[0] != self.epoch:
            bucketed = BucketedBatches(
                self.durations, self._whole, self._num_buckets, self.indices(self.epoch)
            )
            rng = random.Random(f"{self.seed} {self.epoch}")
            self._shuffled = (self.epoch, bucketed(rng))
        return self._shuffled[1]

    def indices(self, epoch: int) -> list[int] | None:
        """Utterances of an epoch; None: all."""
        if not self.num_old:
            return None
        key = f"{self.seed} {epoch} old"
        old = draw_old(self.durations, self.num_old, self.old_share, key)
        return [*range(len(self.durations) - self.num_old), *old]

    @property
    def num_updates(self) -> int:  # type: ignore[override]
        return len(self._groups) if self.divided else -(-len(self._groups) // self.world_size)

    @property
    def num_batches(self) -> int:  # type: ignore[override]
        return sum(len(self.batches(n)) for n in range(self.num_updates)) // self.world_size

    def batches(self, update: int) -> list[list[int]]:
        """Batches of an update, the same number for each process, some perhaps empty."""
        if self.divided:
            group = self._groups[update]
            return split_update(group, self.durations, self.limits, self.world_size)
        start = update * self.world_size
        found = self._groups[start : start + self.world_size]
        return found + [[] for _ in range(self.world_size - len(found))]

    def __iter__(self) -> Iterator[Item]:
        epoch = self.epoch
        for update in range(self.first_update, self.num_updates):
            batches = self.batches(update)
            size = sum(map(len, batches))
            own = batches[self.rank :: self.world_size]
            for number, batch in enumerate(own, 1):
                yield Item(epoch, batch, size, number == len(own))


class EvalSampler(Sampler):
    """All utterances in batches, the longest first; of ``world_size`` batches each process one."""

    def __init__(
        self, durations: Sequence[float], config: DataConfig, rank: int = 0, world_size: int = 1
    ):
        batches = sorted_batches(durations, limits_of(config))
        self._own = batches[rank::world_size]
        self.num_updates, self.num_batches = len(batches), len(self._own)
        self.determinants = ("sorted", limits_of(config))

    def __iter__(self) -> Iterator[Item]:
        for batch in self._own[self.first_update :]:
            yield Item(self.epoch, batch, len(batch), True)


def limits_of(config: DataConfig) -> Limits:
    return Limits(config.max_duration, config.max_padding, config.max_squared_duration)


def largest(
    durations: Sequence[float], tokens: Sequence[int], config: DataConfig
) -> list[list[int]]:
    """Distinct batches about as large as any: padded seconds, their square, times ``tokens``."""
    limits = limits_of(config)
    if config.update_duration is not None:
        limits = replace(limits, max_duration=min(limits.max_duration, config.update_duration))
    batches = sorted_batches(durations, limits)

    def squared(batch: list[int]) -> float:
        return _padded(batch, durations) * durations[batch[0]]

    def times_tokens(batch: list[int]) -> float:
        return _padded(batch, durations) * max(tokens[i] for i in batch)

    found = [
        max(batches, key=squared),
        max(batches, key=times_tokens),
        max(batches, key=lambda batch: _padded(batch, durations)),
    ]
    return [batch for n, batch in enumerate(found) if batch not in found[:n]]
