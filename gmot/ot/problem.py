"""Transport problems of a batch, solver settings, and the validation of both."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gmot.ot.edges import DenseEdges, Edges

# Relative rounding error that marginals and edges may have.
_RELATIVE_SLACK = 1e-3


@dataclass(frozen=True)
class Problem:
    """Validated batch of problems, float32 or float64, zero on padding."""

    node_cost: Tensor  # (N, T, L)
    marginal_a: Tensor  # (N, T), detached
    marginal_b: Tensor  # (N, L)
    edges_a: Edges | None = None  # of T nodes; None: transport without edges
    edges_b: Edges | None = None  # of L nodes
    is_single: bool = False  # one problem was given, without a batch dimension

    @property
    def edges(self) -> tuple[Edges, Edges]:
        """Both, of a problem that has them."""
        assert self.edges_a is not None and self.edges_b is not None
        return self.edges_a, self.edges_b

    def prepared(self, with_edges: bool, with_gradient: bool) -> "Problem":
        """For one solve: edges prepared or left out, costs detached unless ``with_gradient``."""
        edges = [x.prepared() for x in self.edges] if with_edges else (None, None)
        node_cost = self.node_cost if with_gradient else self.node_cost.detach()
        return replace(self, node_cost=node_cost, edges_a=edges[0], edges_b=edges[1])


@dataclass(frozen=True)
class Settings:
    """Objective and stopping rules; see the arguments of the public functions.

    Sinkhorn: ``edge_weight`` 0, ``max_outer`` 1.

    Raises:
      ValueError: naming the argument that is out of range.
    """

    edge_weight: float
    epsilon: float
    proximal: bool
    max_outer: int
    max_inner: int
    tolerance: float
    marginal_tolerance: float
    reach_a: float | None = None
    reach_b: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.edge_weight <= 1:
            raise ValueError(f"edge_weight: expected 0 to 1, found {self.edge_weight}.")
        for name in ("epsilon", "reach_a", "reach_b"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), name)
        for name in ("max_outer", "max_inner"):
            check_iterations(getattr(self, name), name)
        for name in ("tolerance", "marginal_tolerance"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more, found {getattr(self, name)}.")

    @property
    def is_balanced(self) -> bool:
        return self.reach_a is None and self.reach_b is None

    @property
    def powers(self) -> tuple[float, float]:
        """Exponents reach / (reach + epsilon) of both sides; 1 for an exact marginal."""
        a, b = (r and r / (r + self.epsilon) for r in (self.reach_a, self.reach_b))
        return a or 1.0, b or 1.0


class Checks:
    """Conditions per item, evaluated together: one device synchronisation for all.

    ``enabled``: false: none is evaluated, and nothing waits for the device.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._found: list[tuple[Tensor, str]] = []

    def add(self, bad: Callable[[], Tensor], message: str) -> None:
        """``bad``: gives (N,) bool; ``message``: with ``{item}`` for the index."""
        if self.enabled:
            self._found.append((bad(), message))

    def raise_if_any(self) -> None:
        """Raises ValueError with the first bad item of the first failed condition."""
        if self._found and bool(torch.stack([bad for bad, _ in self._found]).any()):
            bad, message = next(found for found in self._found if bool(found[0].any()))
            raise ValueError(message.format(item=int(bad.nonzero()[0, 0])))


def stops_early(x: Tensor) -> bool:
    """Whether loops ask if all items have converged: a GPU would have to wait for the answer."""
    return x.device.type == "cpu"


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(N, size) bool, true at valid positions."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def ends(marginal: Tensor) -> Tensor:
    """(N,) int64, one more than the last position with mass."""
    return ((marginal > 0) * torch.arange(1, marginal.size(1) + 1, device=marginal.device)).amax(1)


def uniform_marginal(lengths: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, size): 1 / length at valid positions, zero on padding."""
    return length_mask(lengths, size).to(dtype) / lengths.to(dtype).unsqueeze(1)


def check_lengths(
    lengths: Any, name: str, count: int, size: int, device: torch.device, checks: Checks
) -> Tensor:
    """(N,) int64 on ``device``; None: all items are full.

    Raises:
      ValueError: wrong shape or type. Values out of range are added to ``checks``.
    """
    if lengths is None:
        return torch.full((count,), size, dtype=torch.int64, device=device)
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (count,):
        raise ValueError(f"{name}: expected shape ({count},), found {tuple(lengths.shape)}.")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ValueError(f"{name}: expected integers, found {lengths.dtype}.")
    lengths = lengths.to(device=device, dtype=torch.int64)
    checks.add(lambda: lengths < 1, f"{name}: item {{item}} is empty; expected 1 to {size}.")
    checks.add(lambda: lengths > size, f"{name}: item {{item}} is longer than {size}.")
    return lengths


def make_problem(
    node_cost: Any,
    edges_a: Any = None,
    edges_b: Any = None,
    marginal_a: Any = None,
    marginal_b: Any = None,
    lengths_a: Any = None,
    lengths_b: Any = None,
    cost_name: str = "node_cost",
    *,
    balanced: bool = True,
    validate: bool = True,
) -> Problem:
    """Validate the arguments of :func:`gmot.ot.fused_gromov_wasserstein`.

    Padding becomes zero, whatever it held (NaN included).

    Args:
      cost_name: name of ``node_cost`` in messages.
      balanced: both marginals need the same mass.
      validate: false: shapes, types and devices alone.
    Raises:
      ValueError: naming the argument and, where there is one, the item.
    """
    reader = _Reader(node_cost, cost_name, lengths_a, lengths_b, Checks(validate))
    cost = reader.tensor(node_cost, cost_name, 0, 1)
    if edges_a is not None:
        edges_a = reader.edges(edges_a, "edges_a", 0)
        edges_b = reader.edges(edges_b, "edges_b", 1)
    a = reader.marginal(marginal_a, "marginal_a", 0)
    b = reader.marginal(marginal_b, "marginal_b", 1)
    if balanced:
        reader.checks.add(
            lambda: (a.sum(1) - b.sum(1)).abs() > _RELATIVE_SLACK * a.sum(1),
            "marginal_a and marginal_b: their sums differ in item {item}; balanced transport "
            "needs the same mass on both sides.",
        )
    reader.checks.raise_if_any()
    return Problem(cost, a, b, edges_a, edges_b, reader.is_single)


class _Reader:
    """Arguments as tensors of one batch, type and device, with zeros on padding."""

    def __init__(self, cost: Any, cost_name: str, lengths_a: Any, lengths_b: Any, checks: Checks):
        cost = _float(cost, cost_name)
        shape = tuple(cost.shape)
        if len(shape) not in (2, 3):
            raise ValueError(f"{cost_name}: expected shape (T, L) or (N, T, L), found {shape}.")
        if cost.numel() == 0:
            raise ValueError(f"{cost_name}: nothing to transport, its shape is {shape}.")
        self.cost_name, self.dtype, self.device = cost_name, cost.dtype, cost.device
        self.is_single = len(shape) == 2
        self.is_padded = lengths_a is not None or lengths_b is not None
        self.count = 1 if self.is_single else shape[0]
        self.checks = checks
        lengths = [lengths_a, lengths_b]
        if self.is_single:
            lengths = [x if x is None else torch.as_tensor(x).reshape(-1) for x in lengths]
        self.lengths = [
            check_lengths(x, name, self.count, size, self.device, self.checks)
            for x, name, size in zip(lengths, ("lengths_a", "lengths_b"), shape[-2:])
        ]
        self.masks = [length_mask(x, size) for x, size in zip(self.lengths, shape[-2:])]

    def tensor(self, value: Any, name: str, *sides: int) -> Tensor:
        """``sides``: 0 (a) or 1 (b) of each dimension after the batch."""
        value = _float(value, name)
        if self.is_single:
            value = value.unsqueeze(0)
        masks = [self.masks[side] for side in sides]
        self._check_shape(value.shape, (self.count, *(mask.size(1) for mask in masks)), name)
        self._check_kind(value, name)
        if self.is_padded:
            mask = masks[0] if len(masks) == 1 else masks[0].unsqueeze(2) & masks[1].unsqueeze(1)
            value = value.masked_fill(~mask, 0)
        self._check_finite(value, name)
        return value

    def edges(self, value: Any, name: str, side: int) -> Edges:
        if isinstance(value, Edges):
            self._check_shape(value.shape, self.masks[side].shape, name)
            self._check_kind(value.values, name)
            edges = value.masked(self.masks[side]) if self.is_padded else value
            self._check_finite(edges.values, name)
        else:
            edges = DenseEdges(self.tensor(value, name, side, side))
        if isinstance(edges, DenseEdges):
            matrix = edges.matrix.detach()
            self.checks.add(
                lambda: (
                    (matrix - matrix.transpose(1, 2)).abs().amax((1, 2))
                    > _RELATIVE_SLACK * matrix.abs().amax((1, 2))
                ),
                f"{name}: item {{item}} is not symmetric. If its two directions are estimates of "
                "one distance, give their mean.",
            )
        return edges

    def marginal(self, value: Any, name: str, side: int) -> Tensor:
        if value is None:
            return uniform_marginal(self.lengths[side], self.masks[side].size(1), self.dtype)
        value = self.tensor(value, name, side).detach()
        self.checks.add(lambda: (value < 0).any(1), f"{name}: item {{item}} has negative entries.")
        self.checks.add(
            lambda: value.sum(1) == 0, f"{name}: item {{item}} has no mass within its length."
        )
        return value

    def _check_shape(self, found: tuple[int, ...], expected: tuple[int, ...], name: str) -> None:
        if tuple(found) != tuple(expected):
            found, expected = (tuple(s[1:] if self.is_single else s) for s in (found, expected))
            raise ValueError(f"{name}: expected shape {expected}, found {found}.")

    def _check_kind(self, value: Tensor, name: str) -> None:
        if value.device != self.device or value.dtype != self.dtype:
            raise ValueError(
                f"{name}: is {value.dtype} on {value.device}, but {self.cost_name} is {self.dtype} "
                f"on {self.device}; expected the same type and device."
            )

    def _check_finite(self, value: Tensor, name: str) -> None:
        self.checks.add(
            lambda: ~torch.isfinite(value.detach().reshape(self.count, -1).sum(1)),
            f"{name}: item {{item}} has NaN or infinite values.",
        )


def _float(value: Any, name: str) -> Tensor:
    """float64 tensor if given as that, else float32."""
    value = torch.as_tensor(value)
    if not value.is_floating_point():
        raise ValueError(f"{name}: expected floating point numbers, found {value.dtype}.")
    return value if value.dtype == torch.float64 else value.float()


def check_choice(value: str, name: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}; found {value!r}.")


def check_positive(value: float, name: str) -> None:
    """Raises ValueError unless ``value`` is a finite positive number."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: expected a finite number above 0, found {value}.")


def check_iterations(value: int, name: str) -> None:
    """Raises ValueError unless ``value`` is an integer of at least one."""
    if int(value) != value or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, found {value}.")
