"""Outer loop of the numba backend, one problem at a time in the processor's cache.

See :mod:`.cpu_sinkhorn` for layout and units.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

from gmot.ot.kernels.cpu_products import (
    LINE,
    LOOPS,
    PLAIN,
    matrix_product,
    temporal_product,
    transpose,
)
from gmot.ot.kernels.cpu_sinkhorn import finish, log2, sinkhorn

NONE, DENSE, FACTORED, TEMPORAL = -1, 0, 1, 2
# Marginal errors at which the first inner solves of the projected gradient loop stop, relative to
# the tolerance.
_FIRST_AIMS = (1 / 3, 1 / 30)


@njit(**LOOPS)
def _assemble(node, product, gain, kernel, phi, psi, accumulate, count):
    """kernel = node + gain * product (+ the logarithm of the last plan if ``accumulate``).

    Up to terms of one index where a marginal is zero.
    """
    for k in range(count):
        shift = psi[k] if psi[k] > -np.inf else psi.dtype.type(0)
        if accumulate:
            for i in range(len(phi)):
                kernel[k, i] = node[k, i] + gain * product[k, i] + (kernel[k, i] + shift + phi[i])
        else:
            for i in range(len(phi)):
                kernel[k, i] = node[k, i] + gain * product[k, i]


@njit(**PLAIN)
def _padded(columns, like):
    """``columns`` rounded up to cache lines."""
    line = LINE // like.itemsize
    return (columns + line - 1) // line * line


@njit(**PLAIN)
def _zeros(like, rows, columns):
    """Zeros (rows, padded columns), aligned to cache lines."""
    line, columns = LINE // like.itemsize, _padded(columns, like)
    space = np.zeros(rows * columns + line, like.dtype)
    begin = (-space.ctypes.data // like.itemsize) % line
    return space[begin : begin + rows * columns].reshape(rows, columns)


@njit(**PLAIN)
def _cleared(space, begin, rows, columns):
    """Part of ``space`` as zeros (rows, columns)."""
    part = space[begin : begin + rows * columns]
    part[:] = 0
    return part.reshape(rows, columns)


@njit(**PLAIN)
def _prepare(kind, matrix, size, others, is_left, space):
    """(left, right, scratch) of edges; the plan has ``others`` rows or columns."""
    depth = matrix.shape[1]
    if kind == NONE:
        left = _zeros(matrix, 1, 1)
        return left, left, left
    if kind == DENSE:
        if size == depth and size >= LINE // matrix.itemsize:
            return matrix, matrix, matrix
        left = _cleared(space, 0, size, _padded(size, matrix))
        for i in range(size):
            for k in range(size):
                left[i, k] = matrix[i, k]
        return left, left, left
    if kind == FACTORED:
        upright, flat = _zeros(matrix, size, depth), _zeros(matrix, depth, size)
        for i in range(size):
            for k in range(depth):
                upright[i, k] = flat[k, i] = matrix[i, k]
        if is_left:
            return flat, upright, _zeros(matrix, depth, others)
        return upright, flat, _zeros(matrix, others, depth)
    sums = _zeros(matrix, size + 1, others)  # over rows
    if is_left:
        return sums, sums, sums
    return _zeros(matrix, size, others), _zeros(matrix, size, others), sums


@njit(**PLAIN)
def _multiply_left(kind, steps, edges, x, out, size):
    """out = C x for edges of the rows (L side)."""
    left, right, scratch = edges
    if kind == DENSE:
        matrix_product(left, x, out, size, size)
    elif kind == FACTORED:
        matrix_product(left, x, scratch, left.shape[0], size)
        matrix_product(right, scratch, out, size, left.shape[0])
    else:
        temporal_product(steps, x, out, size, scratch)


@njit(**PLAIN)
def _multiply_right(kind, steps, edges, x, out, size, count):
    """out = x C for edges of the columns (T side)."""
    left, right, scratch = edges
    if kind == DENSE:
        matrix_product(x, left, out, count, size)
    elif kind == FACTORED:
        matrix_product(x, left, scratch, count, size)
        matrix_product(scratch, right, out, count, right.shape[0])
    else:
        transpose(x, left, count, size)
        temporal_product(steps, left, right, size, scratch)
        transpose(right, out, size, count)


@njit(**LOOPS)
def _rounding(kernel):
    """Change (L1) of a plan of mass 1 by rounding of the exponents."""
    most = kernel.dtype.type(0)
    for k in range(kernel.shape[0]):
        for i in range(kernel.shape[1]):
            most = max(most, abs(kernel[k, i]))
    return most * kernel.dtype.type(np.finfo(kernel.dtype).eps)


@njit(**LOOPS)
def _spread(middle, product, mass, count):
    """product_k = (sum_i middle_ki) product_0 / mass."""
    for k in range(count - 1, -1, -1):
        factor = mass * 0
        for i in range(product.shape[1]):
            factor += middle[k, i]
        factor /= mass
        for i in range(product.shape[1]):
            product[k, i] = factor * product[0, i]


@njit(**PLAIN)
def _solve_item(problem, edges_a, edges_b, scales, limits, powers, space):
    """Outer loop of :mod:`gmot.ot.solver` for one problem. Returns error, iterations."""
    cost, marginal_a, marginal_b, start, result = problem
    kind_a, matrix_a, steps_a = edges_a
    kind_b, matrix_b, steps_b = edges_b
    node_scale, gain = scales
    max_outer, max_inner, tolerance, marginal_tolerance, proximal = limits
    rows, columns = len(marginal_a), len(marginal_b)
    count = (columns + 3) // 4 * 4
    width = _padded(rows, cost)
    arrays = _cleared(space, 0, 6 * count, width).reshape(6, count, width)
    rest = space[6 * count * width :]
    node, kernel, scaled = arrays[0], arrays[1], arrays[2]
    plan, middle, product = arrays[3], arrays[4], arrays[5]
    lines, short = _zeros(cost, 7, rows), _zeros(cost, 7, columns)
    a, log_a, goal, top = lines[0], lines[1], lines[2], lines[3]
    phi, u, sums = lines[4], lines[5], lines[6]
    b, log_b, psi, v, t = short[0], short[1], short[2], short[3], short[4]
    before, target = short[5], short[6]
    mass = a[0] * 0
    for i in range(len(a)):
        a[i] = goal[i] = marginal_a[i] if i < rows else 0
        log_a[i] = log2(a[i])
        mass += a[i]
    for k in range(columns):
        b[k] = marginal_b[k]
        log_b[k] = log2(b[k])
        psi[k] = start[k] if b[k] > 0 else -np.inf
        for i in range(rows):
            node[k, i] = cost[i, k] * node_scale
            plan[k, i] = b[k] * a[i] / mass
    right_edges = _prepare(kind_a, matrix_a, rows, columns, False, rest)
    left_edges = _prepare(kind_b, matrix_b, columns, rows, True, rest[rows * width :])
    item = a, b, log_a, log_b, columns
    state = kernel, scaled, goal, top, phi, psi, u, v, t, sums, before, target
    outer = inner = 0
    error = rate = rounding = cost.dtype.type(0)
    while outer < max_outer:
        if kind_a != NONE:
            _multiply_left(kind_b, steps_b, left_edges, plan, middle, columns)
            if outer > 0:
                _multiply_right(kind_a, steps_a, right_edges, middle, product, rows, columns)
            else:  # a b^T / mass has one row, and its multiples
                _multiply_right(kind_a, steps_a, right_edges, lines, product, rows, 1)
                _spread(middle, product, mass, columns)
        _assemble(node, product, gain, kernel, phi, psi, proximal and outer > 0, columns)
        if outer == 0:
            rounding = _rounding(kernel)
        # The next steps move the plan anyway: marginals need not be exact at first.
        aim = marginal_tolerance
        if not proximal and outer < min(len(_FIRST_AIMS), max_outer - 1):
            aim = max(aim, tolerance * _FIRST_AIMS[outer])
        inner, rate = sinkhorn(item, state, powers, max_inner, aim, rate)
        change, error = finish(item, state, plan, powers[1])
        outer += 1
        if change <= max(tolerance, rounding) and error <= max(marginal_tolerance, rounding):
            break
        if proximal:
            for i in range(len(a)):
                phi[i] = log2(u[i]) - top[i] if u[i] > 0 else phi.dtype.type(0)
    for i in range(rows):
        for k in range(columns):
            result[i, k] = plan[k, i]
    return error, inner if max_outer == 1 else outer


@intrinsic
def _next(typing_context: Any, counter: Any) -> Any:
    """Atomic counter[0]++; the value before."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        one = array.data.type.pointee(1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return counter.dtype(counter), codegen


def make_solver(cache: bool, sources: Any) -> Any:
    """Compiled entry point; ``cache`` on disk, with ``sources`` of other modules in its key."""

    @njit(nogil=True, cache=cache, error_model="numpy")
    def solve(order, counter, problem, edges_a, edges_b, options, solution):
        """Solves the remaining items of ``order``; may be called by several threads at once."""
        _ = sources
        cost, marginal_a, marginal_b, start, ends_a, ends_b = problem
        kind_a, matrix_a, steps_a = edges_a
        kind_b, matrix_b, steps_b = edges_b
        plan, error, iterations = solution
        real = cost.dtype.type
        scales = real(options[0]), real(options[1])
        powers = real(options[2]), real(options[3])
        limits = options[4:]
        # Allocated once per thread: fresh pages would cost more than the solve.
        count, width = _padded(cost.shape[2], cost), _padded(cost.shape[1], cost)
        space = _zeros(cost, 1, 6 * count * width + cost.shape[1] * width + count * count)[0]
        while True:
            place = _next(counter)
            if place >= len(order):
                break
            n = order[place]
            rows, columns = ends_a[n], ends_b[n]
            item = cost[n], marginal_a[n, :rows], marginal_b[n, :columns], start[n], plan[n]
            item_a, item_b = (kind_a, matrix_a[n], steps_a[n]), (kind_b, matrix_b[n], steps_b[n])
            error[n], iterations[n] = _solve_item(
                item, item_a, item_b, scales, limits, powers, space
            )

    return solve
