"""Sinkhorn's iterations of one problem in the numba backend, on the exponential of its kernel.

Arrays are transposed, (L, W): the long side last, padded to W, where marginals are zero. Exponents
are in powers of two: kernel = -cost / (epsilon ln 2), and the plan is
2^(kernel_ki + phi_i + psi_k) = u_i K_ki v_k, where K = 2^(kernel_ki + psi_k - top_i) has absorbed
the last column potential and the largest exponent of each row. No entry is above 1, and each row
has a 1, so no row sum vanishes; where a column sum does, or a factor leaves the safe range, the
iteration is done in the log domain.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from gmot.ot.kernels.cpu_products import LOOPS

# Entries below 2^-90 of their row's largest are zero: with factors in the safe range no product
# comes near the subnormal numbers, which are slow.
_LEAST_EXPONENT = -90.0
# Factors beyond are absorbed into the potentials, and K is computed again.
_SAFE = 2.0**20
# Marginals below this are ignored where their column of K has vanished.
_LEAST_MARGINAL = 2.0**-60
# Plain iterations at the start of an inner solve; upper bound of the estimated rate.
_PLAIN_STEPS = 2
_HIGHEST_RATE = 0.98


def exp2(x: Any) -> Any:
    """2^x for x below 60; exactly 0 below the least exponent. A polynomial: loops vectorise."""


def log2(x: Any) -> Any:
    """log2 of a normal number; -inf of 0."""


@intrinsic
def _bits(typing_context: Any, x: Any) -> Any:
    """Bit cast between a float and an integer of its size."""
    floats, integers = (types.float32, types.float64), (types.int32, types.int64)
    other: Any = dict(zip((*floats, *integers), (*integers, *floats)))[x]

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(other))

    return other(x), codegen


def _format(x: types.Float) -> Any:
    """(float type, integer type, bits of the mantissa)."""
    return (np.float32, np.int32, 23) if x.bitwidth == 32 else (np.float64, np.int64, 52)


@overload(exp2, jit_options={"fastmath": {"contract"}})
def _exp2(x: Any) -> Any:
    real, whole, bits = _format(x)
    # Adding it rounds to an integer, found in the lowest bits.
    magic = real(1.5 * 2**bits)
    least, terms = real(_LEAST_EXPONENT), 7 if bits == 23 else 13
    taylor = tuple(real(math.log(2) ** k / math.factorial(k)) for k in range(terms, -1, -1))
    first, others = taylor[0], taylor[1:]

    def compute(x: Any) -> Any:
        shifted = x + magic
        rest = x - (shifted - magic)
        value = first
        for factor in others:
            value = value * rest + factor
        value = _bits(whole(_bits(value) + whole(_bits(shifted) << bits)))
        return value if x >= least else real(0)

    return compute


@overload(log2, jit_options={"fastmath": {"contract"}})
def _log2(x: Any) -> Any:
    real, whole, bits = _format(x)
    root = int(real(math.sqrt(0.5)).view(whole))
    # log2 m = 2 / ln 2 artanh t, t = (m - 1) / (m + 1), for m between the roots of 1/2 and 2.
    terms = 4 if bits == 23 else 11
    series = tuple(real(2 / math.log(2) / (2 * k + 1)) for k in range(terms, -1, -1))
    first, others = series[0], series[1:]

    def compute(x: Any) -> Any:
        exponent = whole(whole(_bits(x) - root) >> bits)
        mantissa = _bits(whole(_bits(x) - whole(exponent << bits)))
        t = (mantissa - real(1)) / (mantissa + real(1))
        value = first
        for factor in others:
            value = value * (t * t) + factor
        return value * t + real(exponent) if x > 0 else real(-np.inf)

    return compute


@njit(**LOOPS)
def _fill(x, value, count):
    for i in range(count):
        x[i] = value


@njit(**LOOPS)
def _absorb(kernel, psi, top, scaled, count):
    """top and K (``scaled``) for the column potential psi."""
    width = kernel.shape[1]
    _fill(top, -np.inf, width)
    for k in range(count):
        shift = psi[k]
        for i in range(width):
            value = kernel[k, i] + shift
            top[i] = value if value > top[i] else top[i]
    for k in range(count):
        shift = psi[k]
        for i in range(width):
            scaled[k, i] = exp2(kernel[k, i] + shift - top[i])


@njit(**LOOPS)
def _sum_rows(scaled, v, sums):
    """sums = K v."""
    count, width = scaled.shape
    _fill(sums, 0, len(sums))
    for k in range(0, count, 4):
        v0, v1, v2, v3 = v[k], v[k + 1], v[k + 2], v[k + 3]
        for i in range(width):
            first = scaled[k, i] * v0 + scaled[k + 1, i] * v1
            sums[i] += first + (scaled[k + 2, i] * v2 + scaled[k + 3, i] * v3)


@njit(**LOOPS)
def _sum_columns(scaled, u, t):
    """t = K^T u."""
    count, width = scaled.shape
    for k in range(0, count, 4):
        t0 = t1 = t2 = t3 = u.dtype.type(0)
        for i in range(width):
            t0 += scaled[k, i] * u[i]
            t1 += scaled[k + 1, i] * u[i]
            t2 += scaled[k + 2, i] * u[i]
            t3 += scaled[k + 3, i] * u[i]
        t[k], t[k + 1], t[k + 2], t[k + 3] = t0, t1, t2, t3


@njit(**LOOPS)
def _scale_rows(a, log_a, sums, top, power, u, goal):
    if power == 1:
        for i in range(len(a)):
            u[i] = a[i] / sums[i]
    else:
        for i in range(len(a)):
            exponent = power * (log_a[i] - log2(sums[i]) - top[i]) + top[i]
            u[i] = exp2(min(exponent, a.dtype.type(60)))
            goal[i] = u[i] * sums[i]


@njit(**LOOPS)
def _log_columns(kernel, phi, log_b, power, psi, count):
    """psi of the row potential phi, in the log domain: safe at any epsilon."""
    zero = phi.dtype.type(0)
    for k in range(count):
        most, mass = phi.dtype.type(-np.inf), zero
        for i in range(len(phi)):
            value = kernel[k, i] + phi[i]
            most = value if value > most else most
        for i in range(len(phi)):
            mass += exp2(kernel[k, i] + phi[i] - most)
        psi[k] = power * (log_b[k] - most - log2(mass))


@njit(**LOOPS)
def _penalised(log_marginal, potential, power):
    """Marginal at the optimum under a KL penalty: marginal * exp(-f / reach)."""
    exponent = log_marginal + potential * ((power - 1) / power)
    return exp2(min(exponent, type(exponent)(60)))


@njit(**LOOPS)
def _scale_columns(b, log_b, t, psi, power, v, target, count):
    """``target`` = v after a plain iteration. Returns its change of the column sums (L1).

    Also whether a column is lost: it needs mass, but K is zero there.
    """
    error, lost = b.dtype.type(0), False
    for k in range(count):
        if b[k] == 0:
            target[k] = 0
        elif t[k] == 0:
            target[k] = v[k]
            goal = b[k] if power == 1 else _penalised(log_b[k], psi[k] + log2(v[k]), power)
            error += goal
            lost = lost or goal > _LEAST_MARGINAL
        elif power == 1:
            target[k] = b[k] / t[k]
        else:
            exponent = power * (log_b[k] - log2(t[k]) + psi[k]) - psi[k]
            target[k] = exp2(min(exponent, b.dtype.type(60)))
        error += t[k] * abs(target[k] - v[k])
    return error, lost


@njit(**LOOPS)
def _step(v, before, target, weight, gain, count):
    """A step of Chebyshev's method on log v. Returns whether v stays in the safe range.

    ``before``: log v of the previous step; it and v are updated. ``target``: v after a plain
    iteration, which is the step of ``weight`` and ``gain`` 1.
    """
    safe = True
    for k in range(count):
        if target[k] > 0:
            now = log2(v[k])
            aim = now + gain * (log2(target[k]) - now)
            v[k] = exp2(min(before[k] + weight * (aim - before[k]), v.dtype.type(60)))
            before[k] = now
            safe = safe and 1 / _SAFE <= v[k] <= _SAFE
        else:
            safe = safe and target[k] == 0 and v[k] <= 1
            v[k] = 0
    return safe


@njit(**LOOPS)
def sinkhorn(item, state, powers, max_inner, tolerance, rate):
    """Sinkhorn's iterations from psi. The plan is then u K v, with exact columns.

    An iteration is a map of log v whose Jacobian at the solution has its spectrum in [0, rate].
    Chebyshev's method (over-relaxation with the best factor) needs the square root of the number of
    plain iterations; two plain ones estimate the rate, and the last one is plain. Unbalanced
    scaling is plain throughout. Returns the iterations, and the rate for the next solve.
    """
    a, b, log_a, log_b, count = item
    kernel, scaled, goal, top, phi, psi, u, v, t, sums, before, target = state
    power_a, power_b = powers
    one = a.dtype.type(1)
    _absorb(kernel, psi, top, scaled, count)
    _fill(v, 1, count)
    plain = power_a != 1 or power_b != 1
    done, step = 0, 0  # step: since K was computed
    least = last = a.dtype.type(np.inf)
    weight = one
    while True:
        _sum_rows(scaled, v, sums)
        _scale_rows(a, log_a, sums, top, power_a, u, goal)
        _sum_columns(scaled, u, t)
        error, lost = _scale_columns(b, log_b, t, psi, power_b, v, target, count)
        done += 1
        if error <= tolerance or done == max_inner:
            for k in range(count):
                v[k] = target[k]
            break
        if step == _PLAIN_STEPS:
            rate = max(rate, min(error / last, one * _HIGHEST_RATE))
        least, last = min(least, error), error
        if error > 4 * least:  # too far from the solution for its Jacobian
            plain = True
        if plain or step < _PLAIN_STEPS:
            safe = _step(v, before, target, one, one, count)
        else:
            spread = rate / (2 - rate)
            if step == _PLAIN_STEPS:
                weight = one
            elif weight == 1:
                weight = 1 / (1 - spread * spread / 2)
            else:
                weight = 1 / (1 - spread * spread * weight / 4)
            safe = _step(v, before, target, weight, 2 / (2 - rate), count)
        step += 1
        if lost or not safe:
            for i in range(len(a)):
                phi[i] = power_a * (log_a[i] - log2(sums[i]) - top[i])
            _log_columns(kernel, phi, log_b, power_b, psi, count)
            _absorb(kernel, psi, top, scaled, count)
            _fill(v, 1, count)
            step, least = 0, a.dtype.type(np.inf)
    return done, rate


@njit(**LOOPS)
def finish(item, state, plan, power_b):
    """Adds v to psi and updates ``plan``. Returns its change and marginal error."""
    a, b, log_a, log_b, count = item
    kernel, scaled, goal, top, phi, psi, u, v, t, sums, before, target = state
    change = error = a.dtype.type(0)
    _fill(sums, 0, len(sums))
    for k in range(count):
        factor, mass = v[k], a.dtype.type(0)
        for i in range(len(a)):
            value = u[i] * factor * scaled[k, i]
            change += abs(value - plan[k, i])
            mass += value
            sums[i] += value
            plan[k, i] = value
        psi[k] += log2(factor)
        aim = b[k]
        if power_b != 1 and aim > 0:
            aim = _penalised(log_b[k], psi[k], power_b)
        error += abs(mass - aim)
    for i in range(len(a)):
        error += abs(sums[i] - goal[i])
    return change, error
