"""Batches of features for training and evaluation.

An epoch (batches, their order, SpecAugment) is a function of (seed, epoch) alone, not of the
number of workers or of what was read before, so that a resumed training equals an uninterrupted
one.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.data import archive
from gmot.data.augment import SpecAugment, generator_for
from gmot.data.config import DataConfig
from gmot.data.features import load_cuts
from gmot.data.filters import filter_cuts
from gmot.data.pitch import NAME as PITCH
from gmot.data.pitch import NUM_PITCH
from gmot.data.sampling import bucketed_batches, sorted_batches

PADDING = math.log(1e-10)  # log of no energy, below every stored value


@dataclass
class Batch:
    """Utterances of similar duration.

    Attributes:
      ids: utterance ids.
      features: log-Mel energies ``(N, T, F)``, float32, not normalised, padded with ``PADDING``.
      lengths: frames per utterance, ``(N,)`` int64, T at most.
      texts: transcripts.
      durations: in seconds.
    """

    ids: list[str]
    features: Tensor
    lengths: Tensor
    texts: list[str]
    durations: list[float]

    def __len__(self) -> int:
        return len(self.ids)

    def pin_memory(self) -> "Batch":
        """Called by torch's DataLoader."""
        self.features = self.features.pin_memory()
        self.lengths = self.lengths.pin_memory()
        return self


class _Dataset(torch.utils.data.Dataset):
    """Indices of a batch -> :class:`Batch`."""

    def __init__(self, cuts: Sequence[Any], augment: SpecAugment | None, *seed: int):
        self.cuts, self.augment, self.seed = cuts, augment, seed

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        cuts = [self.cuts[index] for index in indices]
        matrices = [self._load(cut) for cut in cuts]
        return Batch(
            ids=[cut.id for cut in cuts],
            features=torch.nn.utils.rnn.pad_sequence(
                matrices, batch_first=True, padding_value=PADDING
            ),
            lengths=torch.tensor([len(matrix) for matrix in matrices]),
            texts=[cut.supervisions[0].text for cut in cuts],
            durations=[cut.duration for cut in cuts],
        )

    def _load(self, cut: Any) -> Tensor:
        try:
            features = torch.from_numpy(cut.load_features())  # (T, F)
        except (OSError, ValueError) as error:
            raise GmotError(
                f"features of '{cut.id}' cannot be read from {cut.features.storage_path} "
                f"({error}). Run the fbank stage again."
            ) from error
        if self.augment is None:
            return features
        return self.augment(features, generator_for(*self.seed, cut.id))


class Loader:
    """Iterable over the batches of an epoch, which :meth:`set_epoch` selects.

    Each iteration restarts the epoch. ``len()`` is the number of batches.

    Args:
      cuts: utterances of an epoch.
      max_duration: seconds per batch, padding included.
      num_workers: loading processes.
      seed: of order and SpecAugment.
      num_buckets: groups of similar duration; None: sorted by duration, not shuffled.
      augment: applied to each utterance.
      world_size, rank: number of processes and index of this one. Each gets the same number of
        batches; up to ``world_size - 1`` batches per epoch are left out.
    """

    def __init__(
        self,
        cuts: Sequence[Any],
        max_duration: float,
        num_workers: int,
        seed: int,
        num_buckets: int | None = None,
        augment: SpecAugment | None = None,
        world_size: int = 1,
        rank: int = 0,
    ):
        self.cuts = list(cuts)
        self.max_duration = max_duration
        self.num_workers = num_workers
        self.seed = seed
        self.num_buckets = num_buckets
        self.augment = augment
        self.world_size, self.rank = world_size, rank
        self.set_epoch(0)

    @property
    def num_utterances(self) -> int:
        """Utterances per epoch, over all processes."""
        return len(self.cuts)

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch of the next iteration."""
        self.epoch = epoch
        durations = [cut.duration for cut in self.cuts]
        if self.num_buckets is None:
            batches = sorted_batches(durations, self.max_duration)
        else:
            rng = random.Random(f"{self.seed} {epoch}")
            batches = bucketed_batches(durations, self.max_duration, self.num_buckets, rng)
        share = len(batches) // self.world_size
        self._batches = batches[self.rank :: self.world_size][:share]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return _without_tracebacks(
            torch.utils.data.DataLoader(
                _Dataset(self.cuts, self.augment, self.seed, self.epoch),
                sampler=self._batches,
                batch_size=None,  # the sampler yields batches
                num_workers=self.num_workers,
                worker_init_fn=archive.register,
                pin_memory=torch.cuda.is_available(),
            )
        )


def _without_tracebacks(batches: Iterable[Batch]) -> Iterator[Batch]:
    try:
        yield from batches
    except GmotError as error:  # torch prepends the worker's traceback to the message
        raise GmotError(str(error).rpartition("GmotError: ")[2].strip()) from None


class AsrDataModule:
    """Splits of a corpus as batches.

    Args:
      fbank_dir: folder of cuts and features.
      prefix: corpus name, first part of the file names.
      max_duration: seconds of speech per batch, padding included; determines the memory needed.
        A longer utterance is a batch of its own.
      num_buckets: groups of similar duration; a batch comes from one of them.
      num_workers: loading processes; 0 loads in the training process.
      seed: of order and SpecAugment.
      spec_augment: applied to training batches; None for none.
      min_utterance, max_utterance: seconds; training excludes shorter and longer utterances.
    """

    def __init__(
        self,
        fbank_dir: PathLike,
        prefix: str,
        max_duration: float = 100.0,
        num_buckets: int = 10,
        num_workers: int = 0,
        seed: int = 0,
        spec_augment: SpecAugment | None = None,
        min_utterance: float = 0.0,
        max_utterance: float | None = None,
    ):
        self.fbank_dir = fbank_dir
        self.prefix = prefix
        self.max_duration = max_duration
        self.num_buckets = num_buckets
        self.num_workers = num_workers
        self.seed = seed
        self.spec_augment = spec_augment
        self.min_utterance = min_utterance
        self.max_utterance = max_utterance
        self._cuts: dict[str, list[Any]] = {}

    @classmethod
    def from_config(
        cls, fbank_dir: PathLike, prefix: str, config: DataConfig, seed: int
    ) -> "AsrDataModule":
        values = {f.name: getattr(config, f.name) for f in fields(config)}
        augment = asdict(values.pop("spec_augment"))
        spec_augment = SpecAugment(**augment) if augment["enabled"] else None
        return cls(fbank_dir, prefix, seed=seed, spec_augment=spec_augment, **values)

    def cuts(self, split: str) -> list[Any]:
        """lhotse cuts of a split, read once."""
        if split not in self._cuts:
            self._cuts[split] = load_cuts(self.fbank_dir, self.prefix, split)
        return self._cuts[split]

    def num_utterances(self, split: str) -> int:
        """Utterances of a split, including copies of other speeds."""
        return len(self.cuts(split))

    def train_dataloader(
        self,
        split: str = "train",
        output_length: Callable[[int], int] | None = None,
        tokenize: Callable[[str], Sequence[int]] | None = None,
        report: PathLike | None = None,
        world_size: int = 1,
        rank: int = 0,
    ) -> Loader:
        """Shuffled, augmented batches.

        Args:
          split: its name.
          output_length: frames of features -> frames of the model's output; with ``tokenize`` it
            excludes utterances that CTC cannot align.
          tokenize: text -> token ids.
          report: file that lists excluded utterances.
          world_size, rank: see :class:`Loader`.

        Raises:
          GmotError: all utterances are excluded.
        """
        cuts = self.cuts(split)
        if output_length is not None and tokenize is not None:
            cuts = filter_cuts(
                cuts, output_length, tokenize, report, self.min_utterance, self.max_utterance
            )
        augment = self.spec_augment
        if augment is not None and cuts[0].features.type == PITCH:
            augment = replace(augment, num_others=NUM_PITCH)
        return Loader(
            cuts,
            self.max_duration,
            self.num_workers,
            self.seed,
            num_buckets=self.num_buckets,
            augment=augment,
            world_size=world_size,
            rank=rank,
        )

    def eval_dataloader(self, split: str) -> Loader:
        """All utterances of a split in every process, the longest first."""
        return Loader(self.cuts(split), self.max_duration, self.num_workers, self.seed)
