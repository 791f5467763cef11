"""Shards computed by the workers of a Dask cluster, through Dask's own executor.

Client and workers share a file system; nothing but arguments and results travels.
"""

import asyncio
import contextlib
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from gmot.common import GmotError, explain, require_extra
from gmot.executors import POLL, Shard, collect, in_one_thread

log = logging.getLogger(__name__)

CONNECT = 10.0  # seconds until a scheduler answers
VISIBLE = 90.0  # seconds after which a file of another machine is visible (NFS caches for 60)
# Packages whose versions decide the values, or whether a task can be unpickled.
PACKAGES = ("torch", "lhotse", "kaldi-native-fbank", "transformers", "tokenizers")
RESUME = "Finished shards are kept: run the same command again"


def run_on_cluster(
    function: Callable[..., Any], shards: Sequence[Shard], marker: Path, product: str, address: str
) -> Iterator[Any]:
    """As :func:`gmot.executors.run_shards`; shards of a killed worker go to others."""
    require_extra("cluster", "distributed")
    from distributed.scheduler import KilledWorker

    content = marker.read_bytes()
    tasks = [(marker, content, shard, function) for shard in shards]
    with _connect(address) as client:

        def places() -> int:
            found = sum(_ask(address, client.nthreads).values())
            if not found:
                log.warning("%s has no worker; waiting for one", address)
            return found

        _check_workers(client, address, marker, content)
        log.info("%s: %d workers compute %d shards", address, len(client.nthreads()), len(shards))
        pool = client.get_executor()
        try:
            for summary, worker, result in collect(pool, _run_on_worker, tasks, places):
                _await_file(summary, worker)
                yield result
        except KilledWorker as error:
            raise GmotError(
                f"{error.allowed_failures + 1} Dask workers that computed one shard of {product} "
                f"were killed, the last {error.last_worker.address}, most often for lack of "
                f"memory. {RESUME}, on workers with more memory (--memory-limit)."
            ) from None
        except CancelledError:
            raise _lost(address) from None


@contextlib.contextmanager
def _connect(address: str) -> Iterator[Any]:
    """Client of a scheduler; what Dask logs is reported here in one line."""
    import distributed

    loggers = [
        logging.getLogger(name)
        for name in list(logging.root.manager.loggerDict)
        if name.split(".")[0] in ("distributed", "tornado")
    ]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # differences of versions: _check_workers
                client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            raise GmotError(
                f"--executor {address}: no Dask scheduler answers ({type(error).__name__}: "
                f"{' '.join(str(error).split())}). Start one with 'dask scheduler', and give the "
                "address that it shows."
            ) from None
        with contextlib.closing(client):  # what is not finished is cancelled
            yield client
    finally:
        for logger, disabled in zip(loggers, before):
            logger.disabled = disabled


def _ask(address: str, question: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Answer of the scheduler; GmotError if it is gone."""
    try:
        return question(*arguments, **options)
    except (OSError, asyncio.TimeoutError, CancelledError, RuntimeError):
        raise _lost(address) from None


def _lost(address: str) -> GmotError:
    return GmotError(
        f"--executor {address}: the connection to the Dask scheduler was lost. {RESUME} when "
        "scheduler and workers run."
    )


def _check_workers(client: Any, address: str, marker: Path, content: bytes) -> None:
    """Raises GmotError if a worker lacks gmot or the folder of ``marker``; logs other versions."""
    try:
        client.wait_for_workers(1, timeout=POLL)
    except (OSError, asyncio.TimeoutError):
        raise GmotError(
            f"--executor {address}: the Dask scheduler has no workers. Start some: "
            f"'python -m dask worker {address} --nthreads 1' in the folder of this checkout."
        ) from None
    versions = _ask(address, client.get_versions, packages=PACKAGES)
    here = versions["client"]["packages"]
    for worker, found in versions["workers"].items():
        there = found["packages"]
        different = [f"{k} {there.get(k)} (here {v})" for k, v in here.items() if there.get(k) != v]
        if different:
            log.warning("Dask worker %s has %s", worker, ", ".join(different))
            break  # others will be like it
    for worker, seen in _ask(address, client.run, _look, marker, on_error="return").items():
        if isinstance(seen, Exception):
            raise GmotError(
                f"Dask worker {worker} cannot run gmot ({type(seen).__name__}: {seen}). Start "
                "workers with the Python of this process, in the folder of this checkout."
            )
        _require_same(f"{worker} on {seen[0]}", marker, seen[1], content)


def _look(marker: Path) -> tuple[str, bytes | None]:
    """Host of this process, and content of a file."""
    return platform.node(), marker.read_bytes() if marker.is_file() else None


def _require_same(worker: str, marker: Path, found: bytes | None, expected: bytes) -> None:
    if found != expected:
        state = "not there" if found is None else "another file"
        raise GmotError(
            f"Dask worker {worker} does not share the folder {marker.parent} with this process: "
            f"its {marker.name} is {state}. Workers and client need a shared file system, with "
            "the same paths."
        )


def _run_on_worker(
    marker: Path, content: bytes, shard: Shard, function: Callable[..., Any]
) -> tuple[Path, str, Any]:
    """Summary of a shard, name of this worker, and result; every error names the worker."""
    from distributed import get_worker

    host, found = _look(marker)
    worker = f"{get_worker().address} on {host}"
    _require_same(worker, marker, found, content)
    for path in shard.inputs:
        if not os.path.exists(path):
            raise GmotError(
                f"Dask worker {worker} does not see {path}. Workers and client need a shared file "
                "system, with the same paths."
            )
    try:
        return shard.summary, worker, in_one_thread(function, *shard.arguments)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise GmotError(f"Dask worker {worker}: {message}") from None


def _await_file(path: Path, worker: str) -> None:
    """Wait until a file that a worker wrote is visible here."""
    deadline = time.monotonic() + VISIBLE
    while not path.exists():
        if time.monotonic() > deadline:
            raise GmotError(
                f"Dask worker {worker} wrote {path}, which this process does not see. Workers and "
                "client need a shared file system, with the same paths."
            )
        time.sleep(0.1)
