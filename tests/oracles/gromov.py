"""Slow and plain reference computations of transport, numpy float64, one problem at a time.

They follow the formulas of the papers term by term and share no code with gmot.
"""

import numpy as np
import scipy.optimize


def _log_sum_exp(x, axis):
    top = x.max(axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(x - top).sum(axis=axis))


def sinkhorn(cost, a, b, epsilon, iterations=20000):
    """argmin <C, P> + eps sum P log P, in the log domain."""
    f, g = _potentials(cost, a, b, epsilon, iterations)
    return np.exp((f[:, None] + g[None, :] - cost) / epsilon)


def _potentials(cost, a, b, epsilon, iterations):
    f, g = np.zeros(len(a)), np.zeros(len(b))
    for _ in range(iterations):
        last = f
        f = epsilon * (np.log(a) - _log_sum_exp((g[None, :] - cost) / epsilon, 1))
        g = epsilon * (np.log(b) - _log_sum_exp((f[:, None] - cost) / epsilon, 0))
        if np.abs(f - last).max() < 1e-14:
            break
    return f, g


def exact_sinkhorn(cost, a, b, epsilon):
    """The same plan where Sinkhorn converges without end: a root of the column sums in psi."""
    kernel = -cost / epsilon

    def plan_of(psi):
        exponent = kernel + np.concatenate([[0], psi])
        return a[:, None] * np.exp(exponent - _log_sum_exp(exponent, 1)[:, None])

    start = _potentials(cost, a, b, epsilon, 20000)[1] / epsilon
    found = scipy.optimize.root(
        lambda psi: plan_of(psi).sum(0)[1:] - b[1:], start[1:] - start[0], tol=1e-15
    )
    return plan_of(found.x)


def unbalanced(cost, a, b, epsilon, reach_a, reach_b, iterations=200000):
    """UOT Eq. 9 to the letter, for the entropy P log P - P."""
    kernel = np.exp(-cost / epsilon)
    u, v = np.ones(len(a)), np.ones(len(b))
    for _ in range(iterations):
        last = u
        u = (a / (kernel @ v)) ** (reach_a / (reach_a + epsilon))
        v = (b / (kernel.T @ u)) ** (reach_b / (reach_b + epsilon))
        if np.abs(u / last - 1).max() < 1e-14:
            break
    return u[:, None] * kernel * v[None, :]


def unbalanced_log(cost, a, b, epsilon, reach_a, reach_b, iterations=20000):
    """The same in the log domain: for plans of any mass."""
    f, g = np.zeros(len(a)), np.zeros(len(b))
    for _ in range(iterations):
        last = f
        f = np.log(a) - _log_sum_exp((g - cost) / epsilon, 1)
        f = f * epsilon * (reach_a / (reach_a + epsilon))
        g = np.log(b) - _log_sum_exp((f[:, None] - cost) / epsilon, 0)
        g = g * epsilon * (reach_b / (reach_b + epsilon))
        if np.abs(f - last).max() < 1e-14:
            break
    return np.exp((f[:, None] + g - cost) / epsilon)


def divergence(x, y):
    """KL(x || y) of measures."""
    return (x * np.log(x / y) - x + y).sum()


def tensor_product(edges_a, edges_b, plan):
    """[D (x) P]_ik = sum_jl |C1_ij - C2_kl|^2 P_jl, all four indices written out."""
    squares = (edges_a[:, :, None, None] - edges_b[None, None, :, :]) ** 2  # i j k l
    return np.einsum("ijkl,jl->ik", squares, plan)


def objective(node_cost, edges_a, edges_b, plan, alpha, epsilon):
    """F_eps, and its parts node, edge, entropy."""
    node = (node_cost * plan).sum()
    edge = (tensor_product(edges_a, edges_b, plan) * plan).sum()
    positive = plan[plan > 0]
    entropy = (positive * np.log(positive)).sum()
    return (1 - alpha) * node + alpha * edge + epsilon * entropy, node, edge, entropy


def projected_gradient(node_cost, edges_a, edges_b, a, b, alpha, epsilon, steps=500):
    """Stationary point of F_eps: each step an exact Sinkhorn on the gradient of F."""
    plan = np.outer(a, b)
    for _ in range(steps):
        gradient = (1 - alpha) * node_cost + 2 * alpha * tensor_product(edges_a, edges_b, plan)
        new = sinkhorn(gradient, a, b, epsilon)
        change = np.abs(new - plan).sum()
        plan = new
        if change < 1e-13:
            break
    return plan


def gm_ot(node_cost, edges_a, edges_b, a, b, alpha, beta, steps):
    """GM-OT Eq. 13 and 14 to the letter: plan after each of the steps."""
    plan, plans = np.outer(a, b), []
    for _ in range(steps):
        cost = (1 - alpha) * node_cost + alpha * tensor_product(edges_a, edges_b, plan)
        # argmin <D, P> + beta KL(P | P_old): Sinkhorn on P_old * exp(-D / beta).
        plan = sinkhorn(cost - beta * np.log(plan), a, b, beta)
        plans.append(plan)
    return plans


def cosine_distance(x, y):
    """1 - cos of each pair, one pair at a time."""
    result = np.empty((len(x), len(y)))
    for i, u in enumerate(x):
        for j, v in enumerate(y):
            result[i, j] = 1 - u @ v / np.sqrt((u @ u) * (v @ v))
    return result


def random_problem(rng, rows, columns, width=6):
    """Node cost, edges of two random sequences of vectors, and random weights."""
    x, y = rng.normal(size=(rows, width)), rng.normal(size=(columns, width))
    a, b = rng.uniform(0.5, 1.5, rows), rng.uniform(0.5, 1.5, columns)
    return (
        cosine_distance(x, y),
        cosine_distance(x, x),
        cosine_distance(y, y),
        a / a.sum(),
        b / b.sum(),
    )


def with_empty_positions(problem, empty_rows, empty_columns):
    """Give positions weight 0: the problem, the one without them, and where its plan goes."""
    cost, edges_a, edges_b, a, b = problem
    a[empty_rows], b[empty_columns] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    where = np.ix_(rows, columns)
    inner = (
        cost[where],
        edges_a[np.ix_(rows, rows)],
        edges_b[np.ix_(columns, columns)],
        a[rows],
        b[columns],
    )
    return (cost, edges_a, edges_b, a, b), inner, where


def pad(arrays, fill=0.0):
    """Stack arrays of different sizes, padded at the end with ``fill``."""
    shape = np.max([x.shape for x in arrays], axis=0)
    batch = np.full((len(arrays), *shape), fill)
    for target, x in zip(batch, arrays):
        target[tuple(slice(n) for n in x.shape)] = x
    return batch
