"""Executors of shards: this process, a local pool of processes, or a Dask cluster.

A shard is a function call that writes files, the last of which, its summary, says that they are
complete. Shards that have a summary are not computed again, whatever executor made them.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gmot.common import GmotError, empty_folder, holds_json, write_json

POLL = 60.0  # seconds between looks at an idle executor
MARKER = "source.json"  # in a folder of shards: what they are made from


class Shard(NamedTuple):
    """Arguments of the function that computes a shard.

    Attributes:
      summary: file that the function writes last.
      arguments: of the function.
      inputs: files or folders that it reads.
    """

    summary: Path
    arguments: tuple
    inputs: Sequence[str] = ()


def keep_shards_of(folder: Path, source: dict[str, str]) -> None:
    """Empty a folder of shards, unless they are made from ``source``."""
    if not holds_json(folder / MARKER, source):
        empty_folder(folder)
        write_json(folder / MARKER, source)


def run_shards(
    function: Callable[..., Any],
    shards: Sequence[Shard],
    folder: Path,
    product: str,
    num_jobs: int = 1,
    executor: str | None = None,
) -> Iterator[Any]:
    """Results of ``function(*shard.arguments)``, in the order in which they are finished.

    Every call uses one thread.

    Args:
      folder: of the shards, prepared by :func:`keep_shards_of`. A worker of a cluster must see the
        same :data:`MARKER` in it.
      product: what is computed, for the messages of errors.
      num_jobs: local processes; 1: this process.
      executor: address of a Dask scheduler, ``tcp://host:8786``, instead of local processes.

    Raises:
      GmotError: a process or the scheduler was lost, or a worker does not share the file system.
    """
    if executor is not None and shards:
        from gmot.cluster import run_on_cluster

        yield from run_on_cluster(function, shards, (folder / MARKER).absolute(), product, executor)
        return
    tasks = [(function, *shard.arguments) for shard in shards]
    num_jobs = min(num_jobs, len(tasks))
    if num_jobs <= 1:
        yield from (in_one_thread(*task) for task in tasks)
    else:
        yield from run_in_processes(in_one_thread, tasks, num_jobs, product)


def in_one_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Small matrices take 13 times longer in many threads; and sums depend on their number."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(threads)


def collect(
    pool: Executor,
    function: Callable[..., Any],
    tasks: Iterable[tuple],
    places: Callable[[], int],
) -> Iterator[Any]:
    """Results in the order in which they are finished.

    Two tasks per place are submitted at a time: their arguments occupy memory of the scheduler.
    """
    remaining = iter(tasks)
    running: set[Future] = set()
    while True:
        free = max(2 * places(), 1) - len(running)
        with _interrupts_postponed():
            running |= {pool.submit(function, *task) for task in islice(remaining, max(free, 0))}
        if not running:
            return
        done, running = wait(running, POLL, FIRST_COMPLETED)
        for future in done:
            yield future.result()


# --- local processes ---------------------------------------------------------------------------


def run_in_processes(
    function: Callable[..., Any],
    tasks: Sequence[tuple],
    num_jobs: int,
    product: str,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
) -> Iterator[Any]:
    """Results of ``function(*task)``, in the order in which they are finished.

    Args:
      product: what the processes compute, for the message of the error.
      initializer: called with ``initargs`` in each process when it starts.

    Raises:
      GmotError: a process was killed or could not start.
    """
    # A forked copy of torch, OpenMP or onnxruntime can hang in its threads; a spawned one cannot.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, context, _start, (initializer, *initargs)) as pool:
        try:
            yield from collect(pool, function, tasks, lambda: num_jobs)
        except BrokenProcessPool:
            raise GmotError(
                f"one of {num_jobs} processes that compute {product} was killed, most often for "
                "lack of memory, or could not start (its error is above). Finished parts are kept: "
                "run the same command again, with a smaller --num-jobs if it is killed again."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _interrupts_postponed() -> Iterator[None]:
    """Ctrl-C takes effect at the end, and in a process started here when it unblocks SIGINT.

    A process that is interrupted while it imports would print a traceback.
    """
    interrupts: list[tuple] = []
    handler = signal.signal(signal.SIGINT, lambda *call: interrupts.append(call))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by processes
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if interrupts and callable(handler):
        handler(*interrupts[0])


def _start(initializer: Callable[..., None] | None, *initargs: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent reports Ctrl-C
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()  # the parent was killed: nobody will collect the result
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)
