"""Triton kernel of :mod:`gmot.ot.kernels.cuda`; importing it needs triton."""

import triton
import triton.language as tl


@triton.jit
def _product(left, right, row, depth, column, rows, width, columns, DEPTH: tl.constexpr):
    """Rows ``row`` of left (rows, depth; row stride ``width``) times right (depth, columns)."""
    result = tl.zeros((row.shape[0], column.shape[0]), dtype=tl.float32)
    for start in range(0, depth, DEPTH):
        middle = start + tl.arange(0, DEPTH)
        x = tl.load(
            left + row[:, None] * width + middle[None, :],
            mask=(row[:, None] < rows) & (middle[None, :] < depth),
            other=0.0,
        )
        y = tl.load(
            right + middle[:, None] * columns + column[None, :],
            mask=(middle[:, None] < depth) & (column[None, :] < columns),
            other=0.0,
        )
        # TF32 would cost four digits of an exponent that reaches 1 / epsilon.
        result = tl.dot(x, y, result, input_precision="ieee")
    return result


@triton.jit
def _goal(marginal, potential, power):
    """Marginal at the optimum; under a KL penalty, marginal * exp(-f / reach)."""
    return tl.where(marginal > 0, marginal * tl.exp(potential * ((power - 1) / power)), 0.0)


@triton.jit
def solve_item(
    cost, marginal_a, marginal_b, edges_a, edges_b, ends_a, ends_b, first_psi,
    plan, kernel, product, phi, errors, iterations,
    width, columns, node_scale, gain, power_a, power_b, max_outer, max_inner,
    tolerance, marginal_tolerance,
    HAS_EDGES: tl.constexpr, PROXIMAL: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Outer loop of gmot.ot.solver for item ``program_id``, of ``width`` rows with padding.

    Threads exchange arrays through memory: a barrier stands wherever one reads what another wrote,
    or writes what another may still read.
    """
    item = tl.program_id(0).to(tl.int64)
    rows = tl.load(ends_a + item)
    last_column = tl.load(ends_b + item)
    cost += item * width * columns
    plan += item * width * columns
    kernel += item * width * columns
    product += item * width * columns
    marginal_a += item * width
    phi += item * width
    marginal_b += item * columns
    edges_a += item * width * width
    edges_b += item * columns * columns
    low = -float("inf")

    column = tl.arange(0, COLUMNS)
    b = tl.load(marginal_b + column, mask=column < columns, other=0.0)
    log_b = tl.log(b)
    psi = tl.load(first_psi + item * columns + column, mask=column < columns, other=0.0)
    psi = tl.where(b > 0, psi, low)
    mass = tl.sum(b, 0)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & (column[None, :] < columns)
        place = row[:, None] * columns + column[None, :]
        a = tl.load(marginal_a + row, mask=row < rows, other=0.0)
        tl.store(plan + place, a[:, None] * b[None, :] / mass, mask=inside)
        tl.store(phi + row, tl.where(a > 0, 0.0, low), mask=row < rows)
    tl.debug_barrier()

    outer = 0
    inner = 0
    error = 0.0
    going = True
    while going:
        if HAS_EDGES:
            for start in range(0, rows, ROWS):
                row = start + tl.arange(0, ROWS)
                inside = (row[:, None] < rows) & (column[None, :] < columns)
                place = row[:, None] * columns + column[None, :]
                x = _product(plan, edges_b, row, last_column, column, rows, columns, columns, DEPTH)
                tl.store(product + place, x, mask=inside)
            tl.debug_barrier()
        for start in range(0, rows, ROWS):
            row = start + tl.arange(0, ROWS)
            inside = (row[:, None] < rows) & (column[None, :] < columns)
            place = row[:, None] * columns + column[None, :]
            x = node_scale * tl.load(cost + place, mask=inside, other=0.0)
            if HAS_EDGES:
                x += gain * _product(
                    edges_a, product, row, rows, column, rows, width, columns, DEPTH
                )
            if PROXIMAL:  # noqa: SIM102 (known at compile time; the other is not)
                if outer > 0:  # + the logarithm of the last plan
                    old = tl.load(kernel + place, mask=inside, other=0.0)
                    shift = tl.load(phi + row, mask=row < rows, other=low)
                    logarithm = old + shift[:, None] + psi[None, :]
                    x += tl.where(logarithm > low, logarithm, 0.0)
                    tl.debug_barrier()
            tl.store(kernel + place, x, mask=inside)
        tl.debug_barrier()

        # One pass per iteration: each block of rows gets its potential and enters the running
        # log-sum-exp of the columns.
        inner = 0
        scaling = True
        while scaling:
            error = 0.0
            top = tl.full((COLUMNS,), low, dtype=tl.float32)
            total = tl.zeros((COLUMNS,), dtype=tl.float32)
            for start in range(0, rows, ROWS):
                row = start + tl.arange(0, ROWS)
                inside = (row[:, None] < rows) & (column[None, :] < columns)
                place = row[:, None] * columns + column[None, :]
                a = tl.load(marginal_a + row, mask=row < rows, other=0.0)
                x = tl.load(kernel + place, mask=inside, other=0.0)
                across = x + psi[None, :]
                most = tl.max(across, 1)
                sums = most + tl.log(tl.sum(tl.exp(across - most[:, None]), 1))
                # Columns were exact: the rows have the error of the last iteration.
                last_phi = tl.load(phi + row, mask=row < rows, other=low)
                off = tl.abs(tl.exp(last_phi + sums) - _goal(a, last_phi, power_a))
                error += tl.sum(tl.where(a > 0, off, 0.0), 0)
                new_phi = tl.where(a > 0, power_a * (tl.log(a) - sums), low)
                tl.debug_barrier()
                tl.store(phi + row, new_phi, mask=row < rows)
                down = tl.where(inside, x + new_phi[:, None], low)
                new_top = tl.maximum(top, tl.max(down, 0))
                base = tl.where(new_top > low, new_top, 0.0)
                total = total * tl.exp(top - base) + tl.sum(tl.exp(down - base[None, :]), 0)
                top = new_top
            psi = tl.where(b > 0, power_b * (log_b - top - tl.log(total)), low)
            tl.debug_barrier()
            inner += 1
            # The first pass measures the potentials of another kernel.
            scaling = (inner < max_inner) & ((inner == 1) | (error > marginal_tolerance))

        change = 0.0
        error = 0.0
        # Triton 3.4's compiler crashes if the loop above assigns the same name.
        sums_b = tl.zeros((COLUMNS,), dtype=tl.float32)
        for start in range(0, rows, ROWS):
            row = start + tl.arange(0, ROWS)
            inside = (row[:, None] < rows) & (column[None, :] < columns)
            place = row[:, None] * columns + column[None, :]
            a = tl.load(marginal_a + row, mask=row < rows, other=0.0)
            last_phi = tl.load(phi + row, mask=row < rows, other=low)
            x = tl.load(kernel + place, mask=inside, other=0.0)
            last = tl.load(plan + place, mask=inside, other=0.0)
            new = tl.where(inside, tl.exp(x + last_phi[:, None] + psi[None, :]), 0.0)
            change += tl.sum(tl.sum(tl.abs(new - last), 1), 0)
            error += tl.sum(tl.abs(tl.sum(new, 1) - _goal(a, last_phi, power_a)), 0)
            sums_b += tl.sum(new, 0)
            tl.debug_barrier()
            tl.store(plan + place, new, mask=inside)
        error += tl.sum(tl.abs(sums_b - _goal(b, psi, power_b)), 0)
        tl.debug_barrier()
        outer += 1
        going = (outer < max_outer) & ((change > tolerance) | (error > marginal_tolerance))
    tl.store(errors + item, error)
    tl.store(iterations + item, tl.where(max_outer == 1, inner, outer))
