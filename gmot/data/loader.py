"""Iteration over the batches of epochs, with loading processes."""

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator

import torch

from gmot.common import GmotError, fingerprint
from gmot.data import archive, shar
from gmot.data.batch import Batch
from gmot.data.config import DataConfig
from gmot.data.dataset import Dataset
from gmot.data.sampling import Item, Sampler, largest


class Loader:
    """Iterable over the batches of this process in an epoch, which :meth:`set_epoch` selects.

    Each iteration restarts the epoch (at ``first_update``). ``len()`` is the number of batches of
    this process in the whole epoch.
    """

    def __init__(self, dataset: Dataset, sampler: Sampler, config: DataConfig):
        self.dataset, self.sampler, self.config = dataset, sampler, config
        self._forks = config.num_workers > 0  # at the next iteration; processes then stay
        self.set_epoch(0)

    def set_epoch(self, epoch: int, first_update: int = 0) -> None:
        """Select the epoch of the next iteration, without its first updates."""
        self.sampler.set_epoch(epoch, first_update)

    @property
    def num_utterances(self) -> int:
        """Utterances per epoch, of all processes (of old data: all that it may draw)."""
        return len(self.dataset)

    @property
    def num_updates(self) -> int:
        """Updates of the whole epoch."""
        return self.sampler.num_updates

    def __len__(self) -> int:
        return self.sampler.num_batches

    @functools.cached_property
    def order(self) -> str:
        """Fingerprint of what determines the updates of an epoch: data, seed, limits."""
        cuts, rows = self.dataset.cuts, self.dataset.rows
        return fingerprint(
            cuts.ids.fingerprint,
            cuts.durations.tobytes(),
            rows.tobytes(),
            *self.sampler.determinants,
        )

    def largest_batches(self) -> list[Batch]:
        """Batches about as large as any of an epoch can be, the largest first.

        By seconds with padding, by seconds squared, and by seconds times tokens.
        """
        tokens = [0] * len(self.dataset)
        if self.dataset.labels is not None:
            texts = self.dataset.cuts.text_index[self.dataset.rows]
            tokens = self.dataset.labels.lengths[texts].tolist()
        batches = largest(self.dataset.durations, tokens, self.config)
        return [self.dataset[Item(0, batch, len(batch), True)] for batch in batches]

    @functools.cached_property
    def _batches(self) -> torch.utils.data.DataLoader:
        workers = self.config.num_workers
        return torch.utils.data.DataLoader(
            self.dataset,
            sampler=self.sampler,
            batch_size=None,  # the sampler yields batches
            num_workers=workers,
            worker_init_fn=_start_worker,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            multiprocessing_context=_context() if workers else None,
            generator=torch.Generator(),  # else the global one is drawn from
        )

    def __iter__(self) -> Iterator[Batch]:
        try:
            with _shared_memory() if self._forks else contextlib.nullcontext():
                batches = iter(self._batches)
            self._forks = False
            yield from batches
        except GmotError as error:  # torch prepends the worker's traceback to the message
            raise GmotError(str(error).rpartition("GmotError: ")[2].strip()) from None


def _context() -> str | None:
    """Forked processes share the memory of this one; elsewhere than on Linux it is not safe."""
    return "fork" if sys.platform == "linux" else None


@contextlib.contextmanager
def _shared_memory() -> Iterator[None]:
    """Processes forked here share memory."""
    gc.collect()
    gc.freeze()  # a collection writes to each object, which would copy its page
    try:
        yield
    finally:
        gc.unfreeze()


def _start_worker(_: int) -> None:
    archive.register()  # a process that is not forked has a registry of its own
    shar.register()
    # A signal to all processes of a group: the training decides when to stop, and its loading
    # processes go on until then. They end when it is gone, or by a signal of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_wait_for_parents_signal, daemon=True).start()


def _wait_for_parents_signal() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
