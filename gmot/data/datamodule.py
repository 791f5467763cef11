"""Batches of features for training and evaluation.

An epoch (batches, their order, SpecAugment) is a function of (seed, epoch) alone, not of the
number of workers or of what was read before, so that a resumed training equals an uninterrupted
one.
"""

import functools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gmot.common import GmotError, PathLike
from gmot.data import archive
from gmot.data.augment import generator_for, spec_augment
from gmot.data.config import DataConfig
from gmot.data.features import load_cuts
from gmot.data.filters import filter_cuts
from gmot.data.pitch import NAME as PITCH
from gmot.data.pitch import NUM_PITCH
from gmot.data.sampling import bucketed_batches, sorted_batches

PADDING = math.log(1e-10)  # log of no energy, below every stored value
Augment = Callable[[Tensor, torch.Generator], Tensor]  # of features (T, F)


@dataclass
class Batch:
    """Utterances of similar duration."""

    ids: list[str]
    features: Tensor  # log-Mel energies (N, T, F), float32, not normalised, padded with PADDING
    lengths: Tensor  # frames per utterance, (N,) int64, T at most
    texts: list[str]
    durations: list[float]  # in seconds

    def __len__(self) -> int:
        return len(self.ids)

    def pin_memory(self) -> "Batch":
        """Called by torch's DataLoader."""
        self.features = self.features.pin_memory()
        self.lengths = self.lengths.pin_memory()
        return self


class _Dataset(torch.utils.data.Dataset):
    """Indices of a batch -> :class:`Batch`."""

    def __init__(self, cuts: Sequence[Any], augment: Augment | None, *seed: int):
        self.cuts, self.augment, self.seed = cuts, augment, seed

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        cuts = [self.cuts[index] for index in indices]
        rows = [self._load(cut) for cut in cuts]
        return Batch(
            ids=[cut.id for cut in cuts],
            features=pad_sequence(rows, batch_first=True, padding_value=PADDING),
            lengths=torch.tensor(list(map(len, rows))),
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


@dataclass(eq=False)
class Loader:
    """Iterable over the batches of an epoch, which :meth:`set_epoch` selects.

    Each iteration restarts the epoch. ``len()`` is the number of batches.

    Args:
      cuts: utterances of an epoch.
      config: of batches.
      seed: of order and augmentation.
      shuffle: whether batches are shuffled, not sorted by duration.
      augment: applied to each utterance.
    """

    cuts: Sequence[Any]
    config: DataConfig
    seed: int
    shuffle: bool = False
    augment: Augment | None = None

    def __post_init__(self) -> None:
        self.set_epoch(0)

    @property
    def num_utterances(self) -> int:
        """Utterances per epoch."""
        return len(self.cuts)

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch of the next iteration."""
        self.epoch = epoch
        durations, bound = [cut.duration for cut in self.cuts], self.config.max_duration
        if self.shuffle:
            rng = random.Random(f"{self.seed} {epoch}")
            self._batches = bucketed_batches(durations, bound, self.config.num_buckets, rng)
        else:
            self._batches = sorted_batches(durations, bound)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        batches = torch.utils.data.DataLoader(
            _Dataset(self.cuts, self.augment, self.seed, self.epoch),
            sampler=self._batches,
            batch_size=None,  # the sampler yields batches
            num_workers=self.config.num_workers,
            worker_init_fn=archive.register,
            pin_memory=torch.cuda.is_available(),
        )
        try:
            yield from batches
        except GmotError as error:  # torch prepends the worker's traceback to the message
            raise GmotError(str(error).rpartition("GmotError: ")[2].strip()) from None


class AsrDataModule:
    """Splits of a corpus as batches.

    Args:
      fbank_dir: folder of cuts and features.
      prefix: corpus name, first part of the file names.
      config: of batches and augmentation.
      seed: of order and augmentation.
    """

    def __init__(
        self, fbank_dir: PathLike, prefix: str, config: DataConfig | None = None, seed: int = 0
    ):
        self.fbank_dir, self.prefix, self.seed = fbank_dir, prefix, seed
        self.config = config or DataConfig()
        self._cuts: dict[str, list[Any]] = {}

    def cuts(self, split: str) -> list[Any]:
        """lhotse cuts of a split, copies of other speeds included; read once."""
        if split not in self._cuts:
            self._cuts[split] = load_cuts(self.fbank_dir, self.prefix, split)
        return self._cuts[split]

    def train_dataloader(
        self,
        split: str = "train",
        output_length: Callable[[int], int] | None = None,
        tokenize: Callable[[str], Sequence[int]] | None = None,
        report: PathLike | None = None,
    ) -> Loader:
        """Shuffled, augmented batches.

        Args:
          split: its name.
          output_length: frames of features -> frames of the model's output; with ``tokenize`` it
            excludes utterances that CTC cannot align.
          tokenize: text -> token ids.
          report: file that lists excluded utterances.

        Raises:
          GmotError: all utterances are excluded.
        """
        cuts = self.cuts(split)
        if output_length is not None and tokenize is not None:
            bounds = (self.config.min_utterance, self.config.max_utterance)
            cuts = filter_cuts(cuts, output_length, tokenize, report, *bounds)
        augment = None
        if self.config.spec_augment.enabled:
            num_others = NUM_PITCH if cuts[0].features.type == PITCH else 0
            augment = functools.partial(
                spec_augment, self.config.spec_augment, num_others=num_others
            )
        return Loader(cuts, self.config, self.seed, shuffle=True, augment=augment)

    def eval_dataloader(self, split: str) -> Loader:
        """All utterances of a split, the longest first."""
        return Loader(self.cuts(split), self.config, self.seed)
