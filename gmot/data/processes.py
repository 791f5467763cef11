"""A pool of worker processes of one thread each."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from gmot.common import GmotError


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
            with _interrupts_postponed():
                futures = [pool.submit(function, *task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
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
