"""Splits of a corpus as batches for training and evaluation.

An epoch (updates, their order, SpecAugment) is a function of (seed, epoch) alone, not of the
number of workers or processes or of what was read before, so that a resumed training equals an
uninterrupted one.
"""

import functools
import logging
from collections.abc import Callable, Sequence

import numpy as np

from gmot.common import GmotError, PathLike
from gmot.data.augment import spec_augment
from gmot.data.batch import PADDING as PADDING
from gmot.data.batch import Batch as Batch
from gmot.data.config import DataConfig
from gmot.data.cuts import CutTable, read_cuts
from gmot.data.dataset import Dataset, Rows
from gmot.data.filters import select_cuts
from gmot.data.loader import Loader as Loader
from gmot.data.old_data import OldData, join_cuts
from gmot.data.pitch import NAME as PITCH
from gmot.data.pitch import NUM_PITCH
from gmot.data.sampling import EvalSampler, TrainSampler

log = logging.getLogger(__name__)


class AsrDataModule:
    """Splits of a corpus as batches.

    Args:
      fbank_dir: folder of cuts and features.
      prefix: corpus name, first part of the file names.
      config: of batches and augmentation.
      seed: of order and augmentation.
      rank, world_size: number of this process, and of all.
      old: corpus of an earlier training, of which each training epoch has a sample
        (``config.old_share``).
    """

    def __init__(
        self,
        fbank_dir: PathLike,
        prefix: str,
        config: DataConfig | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        old: OldData | None = None,
    ):
        self.fbank_dir, self.prefix, self.seed, self.old = fbank_dir, prefix, seed, old
        self.config = config or DataConfig()
        self.rank, self.world_size = rank, world_size
        self._cuts: dict[str, CutTable] = {}

    def cuts(self, split: str) -> CutTable:
        """Cuts of a split, copies of other speeds included; read once."""
        if split not in self._cuts:
            on_the_fly = self.config.features == "on_the_fly"
            self._cuts[split] = read_cuts(self.fbank_dir, self.prefix, split, on_the_fly)
        return self._cuts[split]

    def train_cuts(self, split: str) -> CutTable:
        """Cuts of a training split, then those of the old corpus; joined once.

        Raises:
          GmotError: their features are of different kinds.
        """
        key = f"{split} and old"  # no split has spaces
        if self.old is None:
            return self.cuts(split)
        if key not in self._cuts:
            old = read_cuts(*self.old, self.config.features == "on_the_fly")
            self._cuts[key] = join_cuts(self.cuts(split), old, self.old)
        return self._cuts[key]

    def train_dataloader(
        self,
        split: str = "train",
        output_length: Callable[[int], int] | None = None,
        labels: Callable[[str], Sequence[int]] | None = None,
        teacher: Callable[[str], Rows] | None = None,
        report: PathLike | None = None,
    ) -> Loader:
        """Shuffled, augmented batches of this process.

        Args:
          split: its name.
          output_length: frames of features -> frames of the model's output; with ``labels`` it
            excludes utterances that CTC cannot align.
          labels: text -> token ids, called once per distinct text.
          teacher: text -> features ``(L, D)``, called in the workers.
          report: file that lists excluded utterances.

        Raises:
          GmotError: all utterances are excluded, or all of the new or old corpus.
        """
        cuts, config = self.train_cuts(split), self.config
        dataset = Dataset(cuts, self.seed, labels, teacher)
        if output_length is not None and dataset.labels is not None:
            bounds = (config.min_utterance, config.max_utterance)
            dataset.rows = select_cuts(cuts, output_length, dataset.labels, report, *bounds)
        if config.spec_augment.enabled:
            num_others = NUM_PITCH if cuts.source(0).type == PITCH else 0
            dataset.augment = functools.partial(
                spec_augment, config.spec_augment, num_others=num_others
            )
        num_old = self._count_old(split, dataset.rows)
        place = (self.rank, self.world_size, num_old)
        return Loader(dataset, TrainSampler(dataset.durations, config, self.seed, *place), config)

    def _count_old(self, split: str, rows: np.ndarray) -> int:
        """Number of old utterances among the rows in use, which are logged."""
        if self.old is None:
            return 0
        is_old = rows >= len(self.cuts(split))
        seconds = self.train_cuts(split).durations[rows]
        new, old = float(seconds[~is_old].sum()), float(seconds[is_old].sum())
        if not new or not old:
            what = f"'{split}' of {self.fbank_dir}" if not new else f"{self.old.fbank_dir}"
            raise GmotError(f"all training utterances of {what} are excluded.")
        share = self.config.old_share
        drawn = min(old, share * new)
        log.info(
            "%s: each epoch has %.2f h of %.2f h of old speech beside %.2f h of new speech",
            *(self.old.fbank_dir, drawn / 3600, old / 3600, new / 3600),
        )
        if old < share * new:
            log.warning(
                "data.old_share %g asks for %.2f h: all old speech is in each epoch, once",
                *(share, share * new / 3600),
            )
        return int(is_old.sum())

    def eval_dataloader(
        self,
        split: str,
        labels: Callable[[str], Sequence[int]] | None = None,
        teacher: Callable[[str], Rows] | None = None,
    ) -> Loader:
        """Utterances of a split, the longest first: of every ``world_size`` batches, one each."""
        dataset = Dataset(self.cuts(split), self.seed, labels, teacher)
        sampler = EvalSampler(dataset.durations, self.config, self.rank, self.world_size)
        return Loader(dataset, sampler, self.config)
