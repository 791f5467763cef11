"""What a transport solver gives back."""

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True)
class TransportResult:
    """The plan of each item, its objective, and how well it was solved.

    For one problem given without a batch dimension, the fields lack it too.

    Attributes:
      plan: (N, T, L), exactly zero on padding. Detached unless
        ``plan_gradient="unroll"``.
      value: (N,) F_eps, the objective that was minimised, at ``plan``. Its gradient with
        respect to costs and edges is the envelope gradient: the plan is held.
        For fused Gromov-Wasserstein
        ``value = (1 - alpha) * node + alpha * edge + epsilon * entropy``;
        for Sinkhorn ``value = node + epsilon * entropy``, plus the KL penalties if unbalanced.
      node: (N,) <M, P>, not weighted by 1 - alpha; differentiable as ``value`` is.
      edge: (N,) sum_ijkl |C1_ij - C2_kl|^2 P_ik P_jl, not weighted by alpha; likewise.
      entropy: (N,) sum P log P, the negative Shannon entropy. Unbalanced: sum P log P - P, plus
        the mass of ``weights_a``, which is the same thing when the masses agree.
      marginal_error: (N,) L1 distance of the plan's marginals to the weights. Unbalanced: to
        the marginals the optimality conditions ask for.
      iterations: (N,) int64, steps until the item stopped: outer steps of fused
        Gromov-Wasserstein, iterations of Sinkhorn.
    """

    plan: Tensor
    value: Tensor
    node: Tensor
    edge: Tensor
    entropy: Tensor
    marginal_error: Tensor
    iterations: Tensor

    def unbatched(self) -> "TransportResult":
        """The only item of a batch of one, without its batch dimension."""
        return TransportResult(**{f.name: getattr(self, f.name)[0] for f in fields(self)})
