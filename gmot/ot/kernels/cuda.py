"""Triton backend: one program per utterance, the complete solve in one launch without host waits.

The kernel compiles for NVIDIA's sm_80 and sm_90 with the Triton of each supported torch and is
tested in Triton's interpreter. Its first use on a machine is compared with ``torch``
(:mod:`gmot.ot.kernels.verification`).

The plan, the kernel matrix of the current step and a product are T x L scratch per program, which
stay in the cache (96 KiB each at 400 x 60); columns are held completely, rows pass in blocks.
Sinkhorn's iterations are in the log domain, safe at any epsilon: one pass over the rows computes
their potentials and the running log-sum-exp of the columns. Edges that are not dense are multiplied
out before the launch, T^2 numbers per utterance (640 KB at T = 400).
"""

import os

import torch
from torch import Tensor

from gmot.ot.problem import Problem, Settings, ends
from gmot.ot.result import Solution
from gmot.ot.solver import edge_gain

_MAX_COLUMNS = 128  # more would not stay in registers
# A block has 4096 numbers, 16 per thread; a pass of Sinkhorn keeps about four blocks. Products go
# through shared memory 16 columns at a time. Compiled for sm_80 and sm_90, a program with edges has
# 16 to 20 KiB of shared memory, and a thread 178 to 255 registers with at most 100 bytes spilled
# (128 columns).
_BLOCK = 4096
_MAX_ROWS = 128
_DEPTH = 16  # minimum of tl.dot
_WARPS = 8


def missing(problem: Problem, settings: Settings) -> str | None:
    """Reason why the backend cannot solve ``problem`` here, or None."""
    cost = problem.node_cost
    if int(torch.__version__.split(".")[0]) < 2:
        return "it needs torch 2"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if cost.device.type != "cuda" and not interpreted:
        return f"it has no solver on {cost.device.type}"
    if cost.dtype != torch.float32:
        return f"it computes in float32, not in {cost.dtype}"
    if cost.size(2) > _MAX_COLUMNS:
        return f"{cost.size(2)} tokens are more than {_MAX_COLUMNS}"
    return None


def solve(problem: Problem, settings: Settings, psi: Tensor | None = None) -> Solution:
    """See :func:`gmot.ot.solver.solve`. The interpreter runs it on CPU tensors.

    The marginal error of the rows is checked in every iteration, when the next one reads them.
    """
    import triton

    from gmot.ot.kernels.cuda_kernel import solve_item

    cost = problem.node_cost.contiguous()
    a, b = problem.marginal_a.contiguous(), problem.marginal_b.contiguous()
    count, rows, columns = cost.shape
    has_edges = settings.edge_weight > 0
    edges_a = edges_b = cost
    if has_edges:
        edges_a, edges_b = (edges.similarity().contiguous() for edges in problem.edges)
    plan, kernel, phi = torch.zeros_like(cost), torch.empty_like(cost), torch.empty_like(a)
    product = torch.empty_like(cost) if has_edges else cost
    psi = torch.zeros_like(b) if psi is None else psi.contiguous()
    error = torch.empty_like(a[:, 0])
    iterations = torch.empty_like(error, dtype=torch.int64)
    block = max(_DEPTH, triton.next_power_of_2(columns))
    block_rows = min(_MAX_ROWS, _BLOCK // block, max(_DEPTH, triton.next_power_of_2(rows)))
    node_scale = (settings.edge_weight - 1) / settings.epsilon
    with torch.cuda.device_of(cost):  # otherwise on the current GPU
        solve_item[(count,)](
            *(cost, a, b, edges_a, edges_b, ends(a).int(), ends(b).int(), psi),
            *(plan, kernel, product, phi, error, iterations),
            *(rows, columns, node_scale, edge_gain(problem, settings)),
            *(*settings.powers, settings.max_outer, settings.max_inner),
            *(settings.tolerance, settings.marginal_tolerance),
            HAS_EDGES=has_edges,
            PROXIMAL=settings.proximal,
            ROWS=block_rows,
            COLUMNS=block,
            DEPTH=_DEPTH,
            num_warps=_WARPS,
        )
    return Solution(plan, error, iterations)
