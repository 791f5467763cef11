"""Batches of features for training and evaluation.

What an epoch consists of (the utterances of each batch, their order, what
SpecAugment does to each) is a function of (seed, epoch) alone: not of the
number of workers, nor of what was read before, so that a resumed run equals an
uninterrupted one.
"""

import argparse
import math
import random
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.data.augment import SpecAugment, generator_for
from gmot.data.features import load_cuts
from gmot.data.filters import filter_cuts
from gmot.data.options import SPEC_AUGMENT
from gmot.data.pitch import NAME as PITCH
from gmot.data.pitch import NUM_PITCH
from gmot.data.sampling import bucketed_batches, sorted_batches

PADDING = math.log(1e-10)  # below every stored value: the logarithm of no energy


@dataclass
class Batch:
    """Utterances of similar duration.

    Attributes:
      ids: utterance ids.
      features: log-Mel energies ``(N, T, F)``, float32, not normalised, padded
        with ``PADDING``.
      feature_lens: frames of each utterance, ``(N,)`` int64; the longest is T.
      texts: transcripts.
      durations: in seconds.
    """

    ids: List[str]
    features: Tensor
    feature_lens: Tensor
    texts: List[str]
    durations: List[float]

    def __len__(self) -> int:
        return len(self.ids)

    def pin_memory(self) -> "Batch":
        """Called by torch's DataLoader."""
        self.features = self.features.pin_memory()
        self.feature_lens = self.feature_lens.pin_memory()
        return self


class _Dataset(torch.utils.data.Dataset):
    """Indices of one batch to a :class:`Batch`."""

    def __init__(self, cuts: Sequence[Any], augment: Optional[SpecAugment], *seed: int):
        self.cuts, self.augment, self.seed = cuts, augment, seed

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        cuts = [self.cuts[index] for index in indices]
        matrices = [self._load(cut) for cut in cuts]
        return Batch(
            ids=[cut.id for cut in cuts],
            features=torch.nn.utils.rnn.pad_sequence(
                matrices, batch_first=True, padding_value=PADDING
            ),
            feature_lens=torch.tensor([len(matrix) for matrix in matrices]),
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
    """Iterates the batches of one epoch; :meth:`set_epoch` says which.

    Each iteration begins the epoch anew. ``len()`` is the number of batches.

    Args:
      cuts: what an epoch consists of.
      max_duration: seconds in a batch, padding counted.
      num_workers: processes that load.
      seed: of order and SpecAugment.
      num_buckets: groups of similar duration; None: by duration, not shuffled.
      augment: applied to each utterance.
      world_size, rank: which share of the batches is this process'; all shares
        are equally many, for which up to ``world_size - 1`` batches of an epoch
        (other ones each epoch) are left out.
    """

    def __init__(
        self,
        cuts: Sequence[Any],
        max_duration: float,
        num_workers: int,
        seed: int,
        num_buckets: Optional[int] = None,
        augment: Optional[SpecAugment] = None,
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
        """Utterances of an epoch, over all processes."""
        return len(self.cuts)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
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
                batch_size=None,  # the batches are made already
                num_workers=self.num_workers,
                pin_memory=torch.cuda.is_available(),
            )
        )


def _without_tracebacks(batches: Iterable[Batch]) -> Iterator[Batch]:
    try:
        yield from batches
    except GmotError as error:  # torch puts the traceback of a loading process before the message
        raise GmotError(str(error).rpartition("GmotError: ")[2].strip()) from None


class AsrDataModule:
    """The parts of a corpus as batches.

    Args:
      fbank_dir: what the fbank stage made.
      prefix: first part of the file names.
      max_duration: seconds of speech in a batch, its padding counted; decides
        how much memory is needed. A longer utterance is a batch by itself.
      num_buckets: groups of similar duration; a batch comes from one.
      num_workers: processes that load; 0 loads in the process that trains.
      seed: of order and SpecAugment.
      spec_augment: applied to training batches; None for none.
      min_utterance, max_utterance: seconds; training leaves out the others.
    """

    def __init__(
        self,
        fbank_dir: PathLike,
        prefix: str,
        max_duration: float = 100.0,
        num_buckets: int = 10,
        num_workers: int = 0,
        seed: int = 0,
        spec_augment: Optional[SpecAugment] = None,
        min_utterance: float = 0.0,
        max_utterance: Optional[float] = None,
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
        self._cuts: Dict[str, List[Any]] = {}

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> "AsrDataModule":
        """Make one from the options of :func:`gmot.data.options.add_data_options`.

        The seed is ``args.seed`` where there is one.
        """
        augment = None
        if args.spec_aug:
            augment = SpecAugment(**{n: getattr(args, f"spec_aug_{n}") for n in SPEC_AUGMENT})
        return cls(
            fbank_dir=args.fbank_dir,
            prefix=args.prefix,
            max_duration=args.max_duration,
            num_buckets=args.num_buckets,
            num_workers=args.num_workers,
            seed=getattr(args, "seed", 0),
            spec_augment=augment,
            min_utterance=args.min_utterance,
            max_utterance=args.max_utterance,
        )

    def cuts(self, part: str) -> List[Any]:
        """The part's lhotse cuts, read once."""
        if part not in self._cuts:
            self._cuts[part] = load_cuts(self.fbank_dir, self.prefix, part)
        return self._cuts[part]

    def num_utterances(self, part: str) -> int:
        """Utterances of a part, copies of other speeds counted."""
        return len(self.cuts(part))

    def train_dataloader(
        self,
        part: str = "train",
        output_length: Optional[Callable[[int], int]] = None,
        tokenize: Optional[Callable[[str], Sequence[int]]] = None,
        report: Optional[PathLike] = None,
        world_size: int = 1,
        rank: int = 0,
    ) -> Loader:
        """Shuffled, augmented batches.

        Args:
          part: which part.
          output_length: frames of features to frames of the model's output;
            with ``tokenize`` it leaves out what CTC cannot align.
          tokenize: text to token ids.
          report: file that lists what was left out.
          world_size: training processes.
          rank: which of them this is.

        Raises:
          GmotError: nothing is left to train on.
        """
        cuts = self.cuts(part)
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

    def eval_dataloader(self, part: str) -> Loader:
        """All utterances of a part, the longest first, in every process."""
        return Loader(self.cuts(part), self.max_duration, self.num_workers, self.seed)
