"""Splits of a corpus as batches for training and evaluation.

An epoch (updates, their order, SpecAugment) is a function of (seed, epoch) alone, not of the
number of workers or processes or of what was read before, so that a resumed training equals an
uninterrupted one.
"""

import functools
from collections.abc import Callable, Sequence

from gmot.common import PathLike
from gmot.data.augment import spec_augment
from gmot.data.batch import PADDING as PADDING
from gmot.data.batch import Batch as Batch
from gmot.data.config import DataConfig
from gmot.data.cuts import CutTable, read_cuts
from gmot.data.dataset import Dataset, Rows
from gmot.data.filters import select_cuts
from gmot.data.loader import Loader as Loader
from gmot.data.pitch import NAME as PITCH
from gmot.data.pitch import NUM_PITCH
from gmot.data.sampling import EvalSampler, TrainSampler


class AsrDataModule:
    """Splits of a corpus as batches.

    Args:
      fbank_dir: folder of cuts and features.
      prefix: corpus name, first part of the file names.
      config: of batches and augmentation.
      seed: of order and augmentation.
      rank, world_size: number of this process, and of all.
    """

    def __init__(
        self,
        fbank_dir: PathLike,
        prefix: str,
        config: DataConfig | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.fbank_dir, self.prefix, self.seed = fbank_dir, prefix, seed
        self.config = config or DataConfig()
        self.rank, self.world_size = rank, world_size
        self._cuts: dict[str, CutTable] = {}

    def cuts(self, split: str) -> CutTable:
        """Cuts of a split, copies of other speeds included; read once."""
        if split not in self._cuts:
            on_the_fly = self.config.features == "on_the_fly"
            self._cuts[split] = read_cuts(self.fbank_dir, self.prefix, split, on_the_fly)
        return self._cuts[split]

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
          GmotError: all utterances are excluded.
        """
        cuts, config = self.cuts(split), self.config
        dataset = Dataset(cuts, self.seed, labels, teacher)
        if output_length is not None and dataset.labels is not None:
            bounds = (config.min_utterance, config.max_utterance)
            dataset.rows = select_cuts(cuts, output_length, dataset.labels, report, *bounds)
        if config.spec_augment.enabled:
            num_others = NUM_PITCH if cuts.source(0).type == PITCH else 0
            dataset.augment = functools.partial(
                spec_augment, config.spec_augment, num_others=num_others
            )
        place = (self.rank, self.world_size)
        return Loader(dataset, TrainSampler(dataset.durations, config, self.seed, *place), config)

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
