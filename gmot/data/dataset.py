"""Batches of given utterances, made in the loading processes."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gmot.data.augment import generator_for
from gmot.data.batch import PADDING, Batch
from gmot.data.cuts import CutTable, Strings
from gmot.data.sampling import Item

Rows = Tensor | np.ndarray  # features of a text, (L, D)
Augment = Callable[[Tensor, torch.Generator], Tensor]  # of features (T, F)


def required_frames(token_ids: Sequence[int]) -> int:
    """Length of the shortest CTC alignment: tokens plus adjacent repetitions; 1 at least."""
    return max(1, len(token_ids) + sum(a == b for a, b in zip(token_ids, token_ids[1:])))


class LabelTable:
    """Token ids of T distinct texts in one array.

    Attributes:
      lengths: tokens per text, (T,) int64.
      required_frames: of the model's output, for CTC, (T,) int64.
    """

    def __init__(self, texts: Strings, labels: Callable[[str], Sequence[int]]):
        found = [labels(text) for text in texts]
        self.lengths = np.array([*map(len, found)], np.int64)
        self.required_frames = np.array([*map(required_frames, found)], np.int64)
        self._ids = np.fromiter(itertools.chain.from_iterable(found), np.int32)
        self._ends = np.cumsum(self.lengths)

    def __getitem__(self, text: int) -> Tensor:
        """Token ids ``(S,)`` int64 of a text."""
        end = self._ends[text]
        return torch.from_numpy(self._ids[end - self.lengths[text] : end].astype(np.int64))


class Dataset(torch.utils.data.Dataset):
    """:class:`Item` -> :class:`Batch`.

    Args:
      cuts: utterances of a split.
      seed: of the augmentation.
      labels: text -> token ids, called once per distinct text.
      teacher: text -> features ``(L, D)``.

    Attributes:
      rows: utterances in use, which items number; default: all.
      augment: applied to each utterance, with a generator of (seed, epoch, utterance).
    """

    def __init__(
        self,
        cuts: CutTable,
        seed: int,
        labels: Callable[[str], Sequence[int]] | None = None,
        teacher: Callable[[str], Rows] | None = None,
    ):
        self.cuts, self.seed, self.teacher = cuts, seed, teacher
        self.labels = LabelTable(cuts.texts, labels) if labels is not None else None
        self.rows = np.arange(len(cuts))
        self.augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def durations(self) -> list[float]:
        """Seconds per utterance."""
        return self.cuts.durations[self.rows].tolist()

    def __getitem__(self, item: Item) -> Batch:
        rows = self.rows[item.indices].tolist() if item.indices else []
        features = [self._load(row, item.epoch) for row in rows]
        texts = [self.cuts.text(row) for row in rows]
        empty = torch.zeros(0, self.cuts.source(0).num_features)
        batch = Batch(
            ids=[self.cuts.ids[row] for row in rows],
            texts=texts,
            durations=[float(self.cuts.durations[row]) for row in rows],
            features=pad_sequence(features or [empty], True, PADDING)[: len(rows)],
            lengths=_lengths(features),
            update_size=item.update_size,
            ends_update=item.ends_update,
        )
        if rows and self.labels is not None:
            labels = [self.labels[self.cuts.text_index[row]] for row in rows]
            batch.labels, batch.label_lengths = pad_sequence(labels, True), _lengths(labels)
        if rows and self.teacher is not None:
            teacher = [torch.as_tensor(self.teacher(text)).half() for text in texts]
            batch.teacher, batch.teacher_lengths = pad_sequence(teacher, True), _lengths(teacher)
        return batch

    def _load(self, row: int, epoch: int) -> Tensor:
        features = torch.from_numpy(self.cuts.load_features(row))
        if self.augment is None:
            return features
        return self.augment(features, generator_for(self.seed, epoch, self.cuts.ids[row]))


def _lengths(rows: Sequence[Tensor]) -> Tensor:
    return torch.tensor([len(row) for row in rows], dtype=torch.int64)
