"""Configuration of the knowledge transfer, in the papers' symbols."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from gmot.common import PathLike
from gmot.config import check, check_choices, check_positive, check_range, from_dict, load_yaml


def solver_convention(alpha: float, beta: float) -> tuple[float, float]:
    """From the papers' alpha and beta to alpha and epsilon of ``fused_gromov_wasserstein``.

    GM-OT iterates (Eq. 13, 14; (x) is the product of Eq. 9)

      P <- argmin <(1 - alpha) M + alpha D (x) P_old, P> + beta KL(P || P_old),

    where the solver's gradient is that of (1 - a) <M, P> + a <D (x) P, P>: (1 - a) M + 2 a D (x) P.
    With c = 2 / (2 - alpha),

      a = alpha / (2 - alpha) = c alpha / 2,    epsilon = c beta,    1 - a = c (1 - alpha),

    every step of the solver is c times the paper's, M with its positional cost included, so the
    plans are the paper's, step by step. The same holds for "projected_gradient" with -beta H(P) in
    place of KL. Without edges (alpha = 0): 0 and beta.

    Values differ: the solver's F_eps is c ((1 - alpha) node + alpha/2 edge + beta entropy), the
    objective that Eq. 13-14 descend; the paper reports Eq. 12, (1 - alpha) node + alpha edge, and
    so does ``transport_loss``.

    KL penalties on the marginals together with edges are in none of the papers. Ours add UOT's
    (arXiv 2509.05609, Eq. 5) to the step, + reach_a KL(P 1 || a) + reach_b KL(P^T 1 || b), so the
    solver's reach is c reach and the exponent reach / (reach + beta) stays UOT's. The edge term is
    quadratic in P, hence so are its divergences (unbalanced Gromov-Wasserstein): at a mass m of
    P_old the step has m beta and m reach. At alpha = 0 the penalties are UOT's own, linear in P:
    for reaches that move mass, alpha -> 0 does not come to the losses at 0.
    """
    return alpha / (2 - alpha), 2 * beta / (2 - alpha)


@dataclass(frozen=True)
class TransferConfig:
    """Objective of the knowledge transfer and scale of the adapter.

    Papers: GM-OT (arXiv 2505.13079), TOT (2409.02239), UOT (2509.05609), CMA-OT (2309.13650) and
    HCM (2309.16093). Values named "ours" are given by none of them.
    """

    objective: Literal["none", "transport", "cross_modal"] = "transport"
    """none: CTC alone, without adapter and teacher; transport: losses from a coupling of frames
    and tokens; cross_modal: HCM's cross-modal encoder with Sinkhorn attention."""
    alpha: float = 0.0
    """Weight of the edges against the nodes (GM-OT Eq. 12), 0 to 1."""
    rho: float = 0.0
    """Strength of the positional cost."""
    beta: float = 0.05
    """Entropic or proximal coefficient (GM-OT Eq. 13)."""
    positional: Literal["gm_ot", "tot"] | None = None
    """Positional cost: that of GM-OT, of TOT, or null."""
    edges: Literal["cosine", "temporal"] = "cosine"
    """Edges of the sequence graphs: distances of features, or temporal adjacency."""
    reach_a: float | None = None
    """KL penalty on the marginals of frames (UOT's lambda_1); null: exact marginals. With edges the
    penalties are quadratic (see solver_convention)."""
    reach_b: float | None = None
    """KL penalty on the marginals of tokens (UOT's lambda_2); null: exact marginals."""
    entropy_in_value: bool = False
    """Add the entropy (and the penalties) to the transport loss. The gradient is the same, because
    the plan is held constant."""
    method: Literal["proximal", "projected_gradient"] = "proximal"
    """Outer loop of the solver; proximal is GM-OT's Eq. 13 as written."""
    final_sinkhorn: bool = False
    """End with the Sinkhorn of Eq. 7 at beta on the unified cost of Eq. 14, the other reading of
    the sentence after Eq. 14; its plan is nearly uniform at the papers' beta (docs/readings.md)."""
    max_outer: int = 10
    """Outer steps (ours; the paper says "several"). The temperature of the node cost is
    beta / max_outer: ten steps bring 0.5 to the 0.05 of GM-OT's setting 1."""
    max_inner: int = 50
    """Sinkhorn iterations per outer step (ours)."""
    tolerance: float = 1e-4
    """Marginal error that ends an outer step (ours); plans are then within 0.01 (L1) of the
    converged ones (benchmarks/convergence.py)."""
    newton_steps: int = 40
    """Newton steps before Sinkhorn, without edges (ours): at a low beta, a strong positional cost
    or large penalties Sinkhorn alone needs thousands of iterations."""
    plan_gradient: Literal["detach", "unroll", "implicit"] = "detach"
    """Gradient through the plan (ours)."""
    backend: Literal["auto", "torch", "cpu", "cuda", "geomloss"] = "auto"
    """Solver (gmot.ot.kernels)."""
    alignment_tokens: Literal["inner", "all"] = "inner"
    """Tokens of the alignment loss: without [CLS] and [SEP] (GM-OT Eq. 16), or all (UOT)."""
    adapter_scale: float = 0.1
    """w_s of GM-OT Eq. 17; 0: no residual connection from the adapter into the encoder."""
    ctc_weight: float = 0.3
    """lambda of GM-OT Eq. 18; 1: the adapter learns from CTC alone, without teacher."""
    alignment_reduction: Literal["sum", "mean"] = "sum"
    """Reduction over the tokens of an utterance: sum (Eq. 16) or mean."""
    cross_modal_layers: int = 5
    """M_t, layers of HCM's cross-modal encoder."""
    block_step: int = 0
    """Conformer blocks that HCM matches: 0: the last; 3: every third, counted from the last."""
    sinkhorn_iterations: int = 3
    """Sinkhorn iterations of HCM's attention."""
    random_teacher: bool = False
    """Control experiment: a teacher with random weights."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, 0, 1, "alpha", "ctc_weight")
        check_range(self, 0, inf, "rho", "adapter_scale", "tolerance", "newton_steps", "block_step")
        check_positive(self, "beta", "reach_a", "reach_b")
        check_range(self, 1, inf, "max_outer", "max_inner")
        check_range(self, 1, inf, "cross_modal_layers", "sinkhorn_iterations")
        edges, proximal = self.alpha > 0, self.method == "proximal"
        valid = not (edges and self.entropy_in_value)
        check(self, valid, "entropy_in_value", "false with alpha > 0")
        unbalanced = self.reach_a is not None or self.reach_b is not None
        valid = edges or not (unbalanced and proximal) or self.max_outer == 1
        expected = "projected_gradient or max_outer 1 for penalties without edges (one Sinkhorn)"
        check(self, valid, "method", expected)
        balanced = self.learns_from_teacher and self.objective == "transport" and not unbalanced
        valid = not self.final_sinkhorn or (balanced and proximal)
        expected = "false, except for balanced transport by the proximal method"
        check(self, valid, "final_sinkhorn", expected)

    @classmethod
    def load(cls, path: PathLike) -> "TransferConfig":
        """Section ``transfer`` of a YAML file.

        Raises:
          GmotError: the file, a key or a value is wrong.
        """
        return from_dict(cls, load_yaml(path).get("transfer", {}), f"{path}: transfer.")

    @property
    def has_adapter(self) -> bool:
        return self.objective != "none"

    @property
    def learns_from_teacher(self) -> bool:
        """Whether training needs the teacher's features: not with CTC alone (lambda = 1)."""
        return self.has_adapter and self.ctc_weight < 1

    @property
    def solver_alpha(self) -> float:
        """alpha in the solver's convention."""
        return solver_convention(self.alpha, self.beta)[0]

    @property
    def epsilon(self) -> float:
        """beta in the solver's convention."""
        return solver_convention(self.alpha, self.beta)[1]

    @property
    def solver_reaches(self) -> tuple[float | None, float | None]:
        """reach_a and reach_b in the solver's convention: c times the paper's."""
        scale = 2 / (2 - self.alpha)
        a, b = (r if r is None else scale * r for r in (self.reach_a, self.reach_b))
        return a, b
