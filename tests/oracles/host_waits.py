"""Host waits of a piece of code, counted on the CPU.

On a GPU, whatever needs a value on the host waits for the device: a branch on a tensor, a copy to
the host, shapes that depend on values, and copies of pageable memory to the device. Two means:

* :func:`count_host_waits`: real tensors on the CPU, in any code: a training step, for example.
  Methods of tensors that give values are counted, and the operators behind which torch waits
  (``aten::_local_scalar_dense``, ``aten::nonzero``, ...), whoever calls them. Branches for the CPU
  alone do as on a GPU: ``gmot.ot.problem.stops_early`` says no, and the compiled CPU backend, a
  launch without waits on a GPU, is not counted. Copies between devices cannot be seen here.
* :func:`on_no_device`: the same code on tensors without data, where torch refuses to give values,
  and to mix them with tensors of the CPU (which would be copies).
"""

import contextlib
import os
import traceback
from collections.abc import Iterator
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gmot.ot.kernels import cpu

METHODS = (
    *("item", "tolist", "numpy", "cpu", "nonzero", "__array__"),
    *("__bool__", "__float__", "__int__", "__index__"),
)
OPERATORS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim"),
    *("unique_consecutive", "repeat_interleave", "bincount", "equal", "is_nonzero"),
}
# Tensors of Python numbers: for a GPU, they are made on the host and copied.
CONSTRUCTORS = ("tensor", "as_tensor")
# Its tensors with the number of updates are on the host.
FREE = f"{os.sep}torch{os.sep}optim{os.sep}"
STOPS_EARLY = ("solver", "newton", "unbalanced", "implicit")


class HostWaits(list):
    """Where the host waited: ``what (file:line)`` of the innermost call in this repository."""

    paused = 0

    def add(self, what: str) -> None:
        frames = [f for f in traceback.extract_stack() if f.filename != __file__]
        if self.paused or any(FREE in frame.filename for frame in frames):
            return
        own = [f for f in frames if f"{os.sep}torch{os.sep}" not in f.filename]
        self.append(f"{what} ({own[-1].filename}:{own[-1].lineno})")

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        self.paused += 1
        try:
            yield
        finally:
            self.paused -= 1


class _Operators(TorchDispatchMode):
    def __init__(self, waits: HostWaits):
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.partition(".")[0]
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            isinstance(x, torch.Tensor) and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )
        if name in OPERATORS or by_mask:
            self.waits.add(f"aten::{name}")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def count_host_waits() -> Iterator[HostWaits]:
    """Waits of the code within, a list of where they were."""
    waits = HostWaits()

    def spy(owner, name):
        original = getattr(owner, name)

        def spied(*arguments, **options):
            if not (name == "as_tensor" and isinstance(arguments[0], torch.Tensor)):
                waits.add(name)
            with waits.pause():  # an item is one wait, whatever it calls
                return original(*arguments, **options)

        return mock.patch.object(owner, name, spied)

    def uncounted(*arguments, original=cpu.solve):
        with waits.pause():
            return original(*arguments)

    with contextlib.ExitStack() as stack:
        for name in METHODS:
            stack.enter_context(spy(torch.Tensor, name))
        for name in CONSTRUCTORS:
            stack.enter_context(spy(torch, name))
        for module in STOPS_EARLY:
            stack.enter_context(mock.patch(f"gmot.ot.{module}.stops_early", lambda x: False))
        stack.enter_context(mock.patch.object(cpu, "solve", uncounted))
        stack.enter_context(_Operators(waits))
        yield waits


def on_no_device(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Tensors of the same shapes on the device ``meta``."""
    return [torch.empty_like(x, device="meta").requires_grad_(x.requires_grad) for x in tensors]
