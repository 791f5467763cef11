"""A batch of transport problems: costs, weights, masks; validation with clear errors."""

import contextlib
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from gmot.ot.edges import DenseEdges, Edges

# Weights and edges carry rounding errors; only real mistakes are refused.
_RELATIVE_SLACK = 1e-3


@dataclass(frozen=True)
class Problem:
    """A validated batch, float32 or float64.

    Attributes:
      node_cost: (N, T, L), zero on padding.
      edges_a, edges_b: of T and L nodes, zero on padding; None without edges.
      weights_a, weights_b: (N, T) and (N, L), detached, zero on padding.
      single: one problem was given, without a batch dimension.
    """

    node_cost: Tensor
    edges_a: Optional[Edges]
    edges_b: Optional[Edges]
    weights_a: Tensor
    weights_b: Tensor
    single: bool


class Checks:
    """Conditions on each item, looked at together: one wait for the device instead of many."""

    def __init__(self) -> None:
        self._found: List[Tuple[Tensor, str]] = []

    def add(self, bad: Tensor, message: str) -> None:
        """``bad``: (N,) bool; ``message``: with ``{item}`` where its number goes."""
        self._found.append((bad, message))

    def raise_if_any(self) -> None:
        """Raises ValueError naming the first bad item of the first failed condition."""
        if not bool(torch.stack([bad for bad, _ in self._found]).any()):
            return
        for bad, message in self._found:
            if bool(bad.any()):
                raise ValueError(message.format(item=int(bad.nonzero()[0, 0])))


def no_autocast(device: torch.device) -> Any:
    """A context in which matrix products keep the precision of their inputs."""
    if device.type in ("cpu", "cuda"):
        return torch.autocast(device_type=device.type, enabled=False)
    return contextlib.nullcontext()


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(N, size) bool, true where a position is within its item's length."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def uniform_weights(lengths: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, size): 1 / length on each item's positions, zero on padding."""
    return length_mask(lengths, size).to(dtype) / lengths.to(dtype).unsqueeze(1)


def check_lengths(
    lengths: Any, name: str, count: int, size: int, device: torch.device, checks: Checks
) -> Tensor:
    """(N,) int64 on ``device``; None means that all items are full.

    Raises:
      ValueError: wrong shape or type. Wrong values are left to ``checks``.
    """
    if lengths is None:
        return torch.full((count,), size, dtype=torch.int64, device=device)
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (count,):
        raise ValueError(f"{name}: expected shape ({count},), found {tuple(lengths.shape)}.")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ValueError(f"{name}: expected integers, found {lengths.dtype}.")
    lengths = lengths.to(device=device, dtype=torch.int64)
    checks.add(lengths < 1, f"{name}: item {{item}} is empty; expected 1 to {size}.")
    checks.add(
        lengths > size, f"{name}: item {{item}} is longer than its tensor; expected 1 to {size}."
    )
    return lengths


def make_problem(
    node_cost: Any,
    edges_a: Any = None,
    edges_b: Any = None,
    weights_a: Any = None,
    weights_b: Any = None,
    lengths_a: Any = None,
    lengths_b: Any = None,
    *,
    cost_name: str = "node_cost",
    balanced: bool = True,
) -> Problem:
    """Check the arguments of a solver and bring them into one form.

    Args:
      node_cost: (N, T, L) or (T, L), torch or numpy, as all the others.
      edges_a, edges_b: (N, T, T), (N, L, L), symmetric, or Edges; both None without edges.
      weights_a, weights_b: (N, T), (N, L), non-negative; None: uniform.
      lengths_a, lengths_b: (N,) integers; None: nothing is padding.
      cost_name: what the caller calls ``node_cost``.
      balanced: both weights must have the same mass.
    Returns:
      The problem; what stood in its padding, be it NaN, is gone.
    Raises:
      ValueError: naming the argument and, where there is one, the item.
    """
    cost = _float(node_cost, cost_name)
    if cost.dim() not in (2, 3):
        raise ValueError(
            f"{cost_name}: expected shape (T, L) or (N, T, L), found {tuple(cost.shape)}."
        )
    single = cost.dim() == 2
    if single:
        cost = cost.unsqueeze(0)
        lengths_a = None if lengths_a is None else torch.as_tensor(lengths_a).reshape(-1)
        lengths_b = None if lengths_b is None else torch.as_tensor(lengths_b).reshape(-1)
    count, rows, columns = cost.shape
    if cost.numel() == 0:
        raise ValueError(f"{cost_name}: nothing to transport, its shape is {tuple(cost.shape)}.")

    checks = Checks()
    is_padded = lengths_a is not None or lengths_b is not None
    lengths_a = check_lengths(lengths_a, "lengths_a", count, rows, cost.device, checks)
    lengths_b = check_lengths(lengths_b, "lengths_b", count, columns, cost.device, checks)
    mask_a, mask_b = length_mask(lengths_a, rows), length_mask(lengths_b, columns)

    def same_kind(value: Tensor, name: str) -> None:
        if value.device != cost.device or value.dtype != cost.dtype:
            raise ValueError(
                f"{name}: is {value.dtype} on {value.device}, but {cost_name} is {cost.dtype} on "
                f"{cost.device}; give both alike."
            )

    def same_shape(found: Tuple[int, ...], expected: Tuple[int, ...], name: str) -> None:
        if found != expected:
            found, expected = (tuple(s[1:] if single else s) for s in (found, expected))
            raise ValueError(f"{name}: expected shape {expected}, found {found}.")

    def finite(total: Tensor, name: str) -> None:
        checks.add(~torch.isfinite(total), f"{name}: item {{item}} has NaN or infinite values.")

    def array(value: Any, name: str, *masks: Tensor) -> Tensor:
        """``masks``: (N, size) of each of its dimensions after the first."""
        value = _float(value, name)
        if single:
            value = value.unsqueeze(0)
        same_shape(value.shape, (count, *(mask.size(1) for mask in masks)), name)
        same_kind(value, name)
        if is_padded:
            mask = masks[0] if len(masks) == 1 else masks[0].unsqueeze(2) & masks[1].unsqueeze(1)
            value = value.masked_fill(~mask, 0)
        finite(value.detach().flatten(1).sum(1), name)
        return value

    def edges(value: Any, name: str, mask: Tensor) -> Edges:
        if isinstance(value, Edges):
            same_shape(value.shape, mask.shape, name)
            same_kind(value.tensor, name)
            if is_padded:
                value = value.masked(mask)
            finite(value.tensor.detach().reshape(count, -1).sum(1), name)
        else:
            value = DenseEdges(array(value, name, mask, mask))
        if isinstance(value, DenseEdges):
            matrix = value.tensor.detach()
            asymmetry = (matrix - matrix.transpose(1, 2)).abs().amax((1, 2))
            checks.add(
                asymmetry > _RELATIVE_SLACK * matrix.abs().amax((1, 2)),
                f"{name}: item {{item}} is not symmetric. If its two directions are estimates of "
                "one distance, give their mean.",
            )
        return value

    def weights(value: Any, name: str, mask: Tensor, lengths: Tensor) -> Tensor:
        if value is None:
            return uniform_weights(lengths, mask.size(1), cost.dtype)
        value = array(value, name, mask).detach()
        checks.add((value < 0).any(1), f"{name}: item {{item}} has negative weights.")
        checks.add(value.sum(1) == 0, f"{name}: item {{item}} has no mass within its length.")
        return value

    cost = array(cost[0] if single else cost, cost_name, mask_a, mask_b)
    if edges_a is not None:
        edges_a = edges(edges_a, "edges_a", mask_a)
        edges_b = edges(edges_b, "edges_b", mask_b)
    weights_a = weights(weights_a, "weights_a", mask_a, lengths_a)
    weights_b = weights(weights_b, "weights_b", mask_b, lengths_b)
    if balanced:
        mass_a, mass_b = weights_a.sum(1), weights_b.sum(1)
        checks.add(
            (mass_a - mass_b).abs() > _RELATIVE_SLACK * mass_a,
            "weights_a and weights_b: their sums differ in item {item}; balanced transport "
            "needs the same mass on both sides.",
        )
    checks.raise_if_any()
    return Problem(cost, edges_a, edges_b, weights_a, weights_b, single)


def _float(value: Any, name: str) -> Tensor:
    """A float64 tensor if that was given, else float32."""
    value = torch.as_tensor(value)
    if not value.is_floating_point():
        raise ValueError(f"{name}: expected floating point numbers, found {value.dtype}.")
    return value if value.dtype == torch.float64 else value.float()


def check_choice(value: str, name: str, choices: Tuple[str, ...]) -> None:
    """Raises ValueError naming the choices."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}; found {value!r}.")


def check_positive(value: float, name: str) -> None:
    """Raises ValueError unless ``value`` is a finite number above zero."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: expected a finite number above 0, found {value}.")


def check_reaches(reach_a: Optional[float], reach_b: Optional[float]) -> None:
    """Raises ValueError unless each is None or a finite number above zero."""
    for name, reach in (("reach_a", reach_a), ("reach_b", reach_b)):
        if reach is not None:
            check_positive(reach, name)


def check_iterations(value: int, name: str) -> None:
    """Raises ValueError unless ``value`` is an integer of at least one."""
    if int(value) != value or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, found {value}.")


def check_tolerance(value: float, name: str = "tolerance") -> None:
    """Raises ValueError unless ``value`` is zero or more."""
    if not value >= 0:
        raise ValueError(f"{name}: expected 0 or more, found {value}.")
