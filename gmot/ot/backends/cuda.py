"""A kernel of Triton: an utterance a program, its whole solve in one launch, nothing waited for.

It compiles for NVIDIA's sm_80 and sm_90 with the Triton of each supported torch, and is tested by
Triton's interpreter; it has not yet run on a GPU. Its first use on a machine is compared with
``torch`` (:mod:`gmot.ot.backends.verification`).

The plan, the kernel of the current step and a product are T x L scratch of the program, which stay
in the cache (96 KiB each at 400 x 60); columns are held whole, rows pass in blocks. Sinkhorn's
iterations are in the log domain, where nothing overflows at any epsilon: one pass over the rows
makes their potential and, with it, the running log-sum-exp of the columns. Edges that are not
dense are multiplied out before the launch, T^2 numbers an utterance (640 KB at 400).
"""

import os
from typing import Optional

import torch
from torch import Tensor

from gmot.ot.operators import DenseOperator, Operator
from gmot.ot.task import Solution, Task

_MAX_COLUMNS = 128  # more would not stay in registers
# A block has 4096 numbers, 16 a thread: a pass of Sinkhorn's keeps about four of that size.
# Products go through shared memory 16 columns at a time. By the compiler's account (sm_80, sm_90)
# a program with edges has 16 to 20 KiB of shared memory, and a thread 178 to 255 registers, with
# at most 100 bytes spilled (128 columns).
_BLOCK = 4096
_MAX_ROWS = 128
_DEPTH = 16  # tl.dot's least
_WARPS = 8


def missing(task: Task) -> Optional[str]:
    """None, or why it cannot solve ``task`` here."""
    if int(torch.__version__.split(".")[0]) < 2:
        return "it needs torch 2"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if task.node_cost.device.type != "cuda" and not interpreted:
        return f"it has no solver on {task.node_cost.device.type}"
    if task.node_cost.dtype != torch.float32:
        return f"it computes in float32, not in {task.node_cost.dtype}"
    if task.node_cost.size(2) > _MAX_COLUMNS:
        return f"{task.node_cost.size(2)} tokens are more than {_MAX_COLUMNS}"
    return None


def solve(task: Task) -> Solution:
    """One launch; the host does not wait for it. The interpreter runs it on CPU tensors.

    It looks at the marginal error in every iteration: the rows', when the next one passes them.
    """
    import triton

    from gmot.ot.backends.cuda_kernel import solve_item

    cost = task.node_cost.contiguous()
    a, b = task.weights_a.contiguous(), task.weights_b.contiguous()
    count, rows, columns = cost.shape
    has_edges = task.alpha > 0
    gain, edges_a, edges_b = 0.0, cost, cost
    if has_edges:
        gain = task.edges_a.sign * task.edges_b.sign * 4 * task.alpha / task.epsilon
        edges_a, edges_b = _dense(task.edges_a, rows, cost), _dense(task.edges_b, columns, cost)
    plan, kernel, phi = torch.zeros_like(cost), torch.empty_like(cost), torch.empty_like(a)
    product = torch.empty_like(cost) if has_edges else cost
    psi = torch.zeros_like(b) if task.psi is None else task.psi.contiguous()
    error = torch.empty_like(a[:, 0])
    iterations = torch.empty_like(error, dtype=torch.int64)
    block = max(16, triton.next_power_of_2(columns))  # tl.dot's least
    block_rows = min(_MAX_ROWS, _BLOCK // block, max(16, triton.next_power_of_2(rows)))
    with torch.cuda.device_of(cost):  # else it would run on the current GPU
        solve_item[(count,)](
            *(cost, a, b, edges_a, edges_b, _ends(a), _ends(b), psi),
            *(plan, kernel, product, phi, error, iterations),
            *(rows, columns, (task.alpha - 1) / task.epsilon, gain),
            *(task.power_a, task.power_b, task.max_outer, task.max_inner),
            *(task.tolerance, task.marginal_tolerance),
            HAS_EDGES=has_edges,
            PROXIMAL=task.proximal,
            ROWS=block_rows,
            COLUMNS=block,
            DEPTH=_DEPTH,
            num_warps=_WARPS,
        )
    return Solution(plan, error, iterations)


def _ends(weights: Tensor) -> Tensor:
    """(N,) int32, one more than the last position with weight."""
    positions = torch.arange(1, weights.size(1) + 1, dtype=torch.int32, device=weights.device)
    return ((weights > 0) * positions).amax(1)


def _dense(operator: Operator, size: int, like: Tensor) -> Tensor:
    """(N, size, size)."""
    if isinstance(operator, DenseOperator):
        return operator.matrix.contiguous()
    eye = torch.eye(size, dtype=like.dtype, device=like.device)
    return operator.product(eye.expand(len(like), size, size)).contiguous()
