"""Batches of random problems for the tests of the backends."""

import numpy as np
import torch
from oracles import gromov

from gmot.ot.problem import Problem, Settings, make_problem


def problems(seed, sizes):
    """Random problems (node cost, edges, marginals) of (T, L) each."""
    rng = np.random.default_rng(seed)
    return [gromov.random_problem(rng, *size) for size in sizes]


def make_case(found, dtype=torch.float64, device="cpu", edges=None, **options):
    """Arguments of a backend: the padded problems with dense edges, and settings.

    Args:
      edges: Edges in place of the dense ones, by side.
      options: fields of Settings; ``marginal_tolerance`` defaults to ``tolerance``.
    """
    cost, edges_a, edges_b, a, b = (
        torch.from_numpy(gromov.pad([p[k] for p in found])).to(device, dtype) for k in range(5)
    )
    edges = {"edges_a": edges_a, "edges_b": edges_b, **(edges or {})}
    options.setdefault("marginal_tolerance", options["tolerance"])
    settings = Settings(**options)
    problem = make_problem(cost, marginal_a=a, marginal_b=b, balanced=settings.is_balanced, **edges)
    return problem.prepared(settings.edge_weight > 0, False), settings


def plans(solution, found):
    """Plans without padding, float64; padding must be exactly zero."""
    assert solution.plan.is_contiguous() and torch.isfinite(solution.plan).all()
    result = []
    for plan, (cost, *_) in zip(solution.plan.double().numpy(), found):
        rows, columns = cost.shape
        assert not plan[rows:].any() and not plan[:, columns:].any()
        result.append(plan[:rows, :columns])
    return result


def distances(solution, found, expected):
    """L1 distance of each item's plan to ``expected`` of its problem."""
    pairs = zip(plans(solution, found), found)
    return np.array([np.abs(plan - expected(*problem)).sum() for plan, problem in pairs])


__all__ = ["Problem", "Settings", "distances", "make_case", "plans", "problems"]
