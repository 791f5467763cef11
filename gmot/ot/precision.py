"""Precision of matrix products: that of their inputs, whatever autocast and TF32 allow outside."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def no_autocast(device: torch.device) -> Iterator[None]:
    """Context in which matrix products keep the precision of their inputs: no autocast, no TF32."""
    autocast: Any = contextlib.nullcontext()
    if device.type in ("cpu", "cuda"):
        autocast = torch.autocast(device_type=device.type, enabled=False)
    with autocast, _full_precision():
        yield


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32, whether torch's older or newer (2.9) interface allows it outside."""
    matmul: Any = torch.backends.cuda.matmul
    older = newer = None
    with contextlib.suppress(AttributeError, AssertionError):  # before torch 2.9
        newer = matmul.fp32_precision
    with contextlib.suppress(RuntimeError):  # only the newer was used: they may not be mixed
        older = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        if newer is not None and matmul.fp32_precision != newer:
            matmul.fp32_precision = newer
