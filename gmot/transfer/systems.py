"""The systems that can be trained: one table of the papers' settings, in the papers' numbers."""

from dataclasses import dataclass, replace
from typing import Any, Dict, Optional, Tuple

from gmot.common import GmotError


def solver_convention(alpha: float, beta: float) -> Tuple[float, float]:
    """From the papers' alpha and beta to alpha and epsilon of ``fused_gromov_wasserstein``.

    GM-OT iterates (Eq. 13, 14; (x) is the product of Eq. 9)

      P <- argmin <(1 - alpha) M + alpha D (x) P_old, P> + beta KL(P || P_old),

    where the true gradient of (1 - a) <M, P> + a <D (x) P, P>, which the solver
    uses, is (1 - a) M + 2 a D (x) P. With c = 2 / (2 - alpha),

      a = alpha / (2 - alpha) = c alpha / 2,    epsilon = c beta,    1 - a = c (1 - alpha),

    every step of the solver is c times the paper's, cost and beta alike, so it has the same
    minimiser: the plans are the paper's, step by step, and M (positional cost included) stays
    as it is. The same holds for "projected_gradient" with -beta H(P) in place of KL.

    Values differ: the solver's F_eps is c ((1 - alpha) node + alpha/2 edge + beta entropy), the
    objective that Eq. 13-14 descend; the paper reports Eq. 12, (1 - alpha) node + alpha edge.
    ``transport_loss`` returns the latter, made from the same parts.

    KL penalties on the marginals together with edges are in none of the papers. Ours add UOT's
    (arXiv 2509.05609, Eq. 5) to the step,

      + reach_a KL(P 1 || a) + reach_b KL(P^T 1 || b),

    so the solver's reach is c reach and the exponent reach / (reach + beta) stays UOT's. The
    edge term is quadratic in P, hence so are its divergences (unbalanced Gromov-Wasserstein): at a
    mass m of P_old the step has m beta and m reach; at mass 1 it is the above. At alpha = 0 the
    penalties are UOT's own, linear in P: for reaches that move mass, alpha -> 0 does not
    come to the losses at 0.

    Args:
      alpha: the paper's weight of the edges, in [0, 1].
      beta: the paper's entropic or proximal coefficient.
    Returns:
      alpha and epsilon of the solver. Without edges (alpha = 0): 0 and beta.
    """
    return alpha / (2 - alpha), 2 * beta / (2 - alpha)


@dataclass(frozen=True)
class TransferSettings:
    """What a system's loss and adapter are made of.

    Attributes:
      name: of the system.
      transfer: False: CTC alone, no adapter and no teacher; the rest is unused.
      objective: "transport": a coupling of frames and tokens gives the losses
        (``gmot.transfer.losses``); "cross_modal": HCM's encoder with Sinkhorn
        attention does (``gmot.transfer.cross_modal``).
      alpha: weight of the edges against the nodes, as in the paper (Eq. 12).
      rho: strength of the positional cost.
      beta: entropic or proximal coefficient, as in the papers (GM-OT Eq. 13).
      positional: name of the positional cost (``gmot.graphs.POSITIONAL``), or None.
      edges: name of the edges (``gmot.graphs.EDGES``).
      reach_a, reach_b: strength of UOT's KL penalties on the marginals of frames and
        tokens (its lambda_1, lambda_2); None: they are kept exactly. With edges the penalties
        are quadratic (:func:`solver_convention`).
      entropy_in_value: the transport loss contains the entropy (and penalties). Its
        gradient is the same: the plan is held.
      method: outer loop of the solver. "proximal" is Eq. 13 as written.
      final_sinkhorn: end with the Sinkhorn of Eq. 7 at beta on the unified cost of Eq. 14, the
        other reading of the sentence after Eq. 14 (``gmot.transfer.final_sinkhorn``); False:
        the plan is that of the last proximal step. The plan of the former is nearly uniform
        at the papers' beta (docs/readings.md).
      max_outer: steps of it. The paper says "several". Ten is ours: with proximal
        steps the temperature of the node cost is beta / max_outer, and ten brings
        beta = 0.5 to the 0.05 of setting 1 (and of UOT), which is solved at once.
      max_inner, tolerance: of the solver (ours; the paper says nothing). A step ends at the
        tolerance, of the warm-started iterations most often before ten, and plans are within 0.01
        (L1) of the converged ones (``benchmarks/convergence.py``).
      newton_steps: Newton steps before Sinkhorn's iterations, where there are no edges (ours): at
        a low beta, with a strong positional cost or with large reaches Sinkhorn alone would need
        thousands of iterations.
      plan_gradient: "detach", "unroll" or "implicit" (ours; the paper says nothing).
      backend: where the transport is solved (``gmot.ot.backends``).
      alignment_tokens: "inner": without [CLS] and [SEP] (Eq. 16); "all": with them.
      adapter_scale: w_s of Eq. 17. 0: the adapter does not lead back into the encoder.
      ctc_weight: lambda of Eq. 18. 1: nothing is transferred, the adapter learns by CTC alone,
        without a teacher and without a transport.
      alignment_reduction: "sum" over the tokens, as Eq. 16 is written and as CTC sums
        over the utterance, or "mean". Utterances are averaged in any case.
      cross_modal_layers: M_t, layers of HCM's encoder.
      block_step: the Conformer's blocks that HCM matches: 0: the last; 3: every third,
        counted back from the last.
      sinkhorn_iterations: of HCM's attention.
      random_teacher: the control of an experiment, a teacher whose weights are random.
    """

    name: str
    transfer: bool = True
    objective: str = "transport"
    alpha: float = 0.0
    rho: float = 0.0
    beta: float = 0.05
    positional: Optional[str] = None
    edges: str = "cosine"
    reach_a: Optional[float] = None
    reach_b: Optional[float] = None
    entropy_in_value: bool = False
    method: str = "proximal"
    final_sinkhorn: bool = False
    max_outer: int = 10
    max_inner: int = 50
    tolerance: float = 1e-4
    newton_steps: int = 40
    plan_gradient: str = "detach"
    backend: str = "auto"
    alignment_tokens: str = "inner"
    adapter_scale: float = 0.1
    ctc_weight: float = 0.3
    alignment_reduction: str = "sum"
    cross_modal_layers: int = 5
    block_step: int = 0
    sinkhorn_iterations: int = 3
    random_teacher: bool = False

    def __post_init__(self) -> None:
        for name, choices in (
            ("objective", ("transport", "cross_modal")),
            ("alignment_tokens", ("inner", "all")),
        ):
            if getattr(self, name) not in choices:
                raise GmotError(
                    f"system '{self.name}': {name} {getattr(self, name)!r}; expected one of "
                    f"{', '.join(choices)}."
                )
        if self.block_step < 0 or self.cross_modal_layers < 1:
            raise GmotError(
                f"system '{self.name}': block_step {self.block_step}, cross_modal_layers "
                f"{self.cross_modal_layers}; expected 0 or more, and 1 or more."
            )
        if self.alpha > 0 and self.entropy_in_value:
            raise GmotError(
                f"system '{self.name}': entropy_in_value is for transport without edges, alpha = 0."
            )
        unbalanced = self.reach_a is not None or self.reach_b is not None
        if self.alpha == 0 and unbalanced and self.method == "proximal" and self.max_outer > 1:
            raise GmotError(
                f"system '{self.name}': reach_a and reach_b without edges (alpha = 0) are one "
                f"Sinkhorn; found method 'proximal' with max_outer {self.max_outer}, expected "
                "'projected_gradient' or max_outer 1."
            )
        proximal = self.objective == "transport" and self.method == "proximal"
        if self.final_sinkhorn and (unbalanced or not (self.learns_from_teacher and proximal)):
            raise GmotError(
                f"system '{self.name}': final_sinkhorn is for balanced transport by proximal steps "
                "(gm_ot, gm_ot_setting2 to 8, gm_ot_no_edges, ...). Leave out --final-sinkhorn, "
                "or train one of these."
            )

    @property
    def learns_from_teacher(self) -> bool:
        """Whether training needs the teacher's features: not with CTC alone (lambda = 1)."""
        return self.transfer and self.ctc_weight < 1

    @property
    def solver_alpha(self) -> float:
        """alpha in the solver's convention."""
        return solver_convention(self.alpha, self.beta)[0]

    @property
    def epsilon(self) -> float:
        """beta in the solver's convention."""
        return solver_convention(self.alpha, self.beta)[1]

    @property
    def solver_reaches(self) -> Tuple[Optional[float], Optional[float]]:
        """reach_a and reach_b in the solver's convention: c times the paper's."""
        scale = 2 / (2 - self.alpha)
        return tuple(r if r is None else scale * r for r in (self.reach_a, self.reach_b))


def _sinkhorn(name: str, beta: float, **others: Any) -> TransferSettings:
    """A system without edges: there is nothing to iterate, one Sinkhorn is the whole of it.

    None of the papers says how many iterations: at most 100 are ours.
    """
    return TransferSettings(
        name, beta=beta, method="projected_gradient", max_outer=1, max_inner=100, **others
    )


def _cma_ot() -> TransferSettings:
    """CMA-OT, arXiv 2309.13650: Eq. 7-15, s = 1; the loss contains the entropy (Eq. 9)."""
    # At this beta Sinkhorn alone converges in ten to thirty iterations.
    return _sinkhorn("cma_ot", 0.2, adapter_scale=1.0, entropy_in_value=True, newton_steps=0)


def _tot(name: str, beta: float, s: float) -> TransferSettings:
    """A row of TOT's Table 1 (arXiv 2409.02239): its alpha~ and s; Eq. 19 with beta = 0.5.

    The loss is Eq. 15, entropy included.
    """
    return _sinkhorn(
        name, beta=beta, rho=0.5, positional="tot", adapter_scale=s, entropy_in_value=True
    )


def _uot(name: str, frames: float, tokens: float) -> TransferSettings:
    """A row of UOT's tables (arXiv 2509.05609): its lambda_1 (frames) and lambda_2 (tokens).

    Eq. 5-13 with eps = 0.05; no scale s, and every token is aligned (Eq. 11). Cosine distance
    and uniform weights are ours: the paper names neither. It trains at a highest rate of 0.002,
    the other papers at 0.001 (``--base-lr``).
    """
    return _sinkhorn(
        name,
        beta=0.05,
        reach_a=frames,
        reach_b=tokens,
        adapter_scale=1.0,
        entropy_in_value=True,
        alignment_tokens="all",
    )


def _hcm(name: str, layers: int, block_step: int) -> TransferSettings:
    """HCM, arXiv 2309.16093: M_t layers, three Sinkhorn iterations at alpha = 1, no scale s."""
    return TransferSettings(
        name,
        objective="cross_modal",
        beta=1.0,
        adapter_scale=1.0,
        entropy_in_value=True,
        cross_modal_layers=layers,
        block_step=block_step,
    )


def _gm_ot(name: str, alpha: float, rho: float, beta: float, w_s: float) -> TransferSettings:
    """A row of GM-OT's Table 2."""
    return TransferSettings(
        name, alpha=alpha, rho=rho, beta=beta, adapter_scale=w_s, positional="gm_ot"
    )


_SETTING_5 = _gm_ot("gm_ot_setting5", alpha=0.02, rho=0.3, beta=0.5, w_s=0.1)

_ALL = (
    TransferSettings("ctc", transfer=False),
    _cma_ot(),
    # HCM's Tables 1 and 2.
    _hcm("hcm", layers=5, block_step=3),
    _hcm("hcm_last", layers=5, block_step=0),
    _hcm("hcm_layers1", layers=1, block_step=3),
    _hcm("hcm_layers3", layers=3, block_step=3),
    _hcm("hcm_layers7", layers=7, block_step=3),
    # CMA-OT's Table 2 and HCM's Table 3: the adapter without transfer, which is the same for both,
    # and transfer without the adapter's way back.
    replace(_cma_ot(), name="ctc_adapter", ctc_weight=1.0),
    replace(_cma_ot(), name="cma_ot_no_return", adapter_scale=0.0),
    replace(_hcm("hcm_no_return", layers=5, block_step=3), adapter_scale=0.0),
    # TOT's Table 1, from its top. `tot` is its best on dev.
    _tot("tot", beta=0.5, s=0.1),
    _tot("tot_setting1", beta=0.01, s=1.0),
    _tot("tot_setting2", beta=0.1, s=1.0),
    _tot("tot_setting3", beta=0.5, s=1.0),
    _tot("tot_setting4", beta=0.5, s=0.5),
    _tot("tot_setting5", beta=0.5, s=0.1),
    _tot("tot_setting6", beta=0.01, s=0.1),
    # UOT's Tables I and II, from their tops. `uot` is their best.
    _uot("uot", frames=0.5, tokens=1.0),
    _uot("uot_setting1", frames=10.0, tokens=10.0),
    _uot("uot_setting2", frames=1.0, tokens=1.0),
    _uot("uot_setting3", frames=0.5, tokens=1.0),
    _uot("uot_setting4", frames=1.0, tokens=0.5),
    _uot("uot_setting5", frames=0.5, tokens=0.5),
    _uot("uot_setting6", frames=0.5, tokens=0.1),
    _uot("uot_setting7", frames=0.1, tokens=0.5),
    _uot("uot_setting8", frames=0.1, tokens=0.1),
    _uot("uot_setting9", frames=0.05, tokens=0.05),
    # GM-OT's Table 2. `gm_ot` is its best on test. Setting 1 is the paper's "similar to CMA-OT".
    replace(_SETTING_5, name="gm_ot"),
    _sinkhorn("gm_ot_setting1", beta=0.05),
    _gm_ot("gm_ot_setting2", alpha=0.01, rho=0.3, beta=0.3, w_s=0.05),
    _gm_ot("gm_ot_setting3", alpha=0.01, rho=0.5, beta=0.5, w_s=0.1),
    _gm_ot("gm_ot_setting4", alpha=0.02, rho=0.5, beta=0.5, w_s=0.1),
    _SETTING_5,
    _gm_ot("gm_ot_setting6", alpha=0.05, rho=0.5, beta=0.5, w_s=0.1),
    _gm_ot("gm_ot_setting7", alpha=0.1, rho=0.1, beta=0.3, w_s=0.05),
    _gm_ot("gm_ot_setting8", alpha=0.01, rho=0.5, beta=0.5, w_s=0.3),
    # Rows that no paper ran: setting 5 without its edges, without its positional cost, with edges
    # of time in place of features, and with a teacher that knows nothing.
    replace(_SETTING_5, name="gm_ot_no_edges", alpha=0.0),
    replace(_SETTING_5, name="gm_ot_no_order", rho=0.0, positional=None),
    replace(_SETTING_5, name="gm_ot_temporal", edges="temporal"),
    replace(_SETTING_5, name="gm_ot_random_teacher", random_teacher=True),
)

SYSTEMS: Dict[str, TransferSettings] = {settings.name: settings for settings in _ALL}


def get_system(name: str) -> TransferSettings:
    """The settings of a system.

    Raises:
      GmotError: there is none of that name.
    """
    if name not in SYSTEMS:
        raise GmotError(f"system '{name}' is unknown. Known: {', '.join(SYSTEMS)}.")
    return SYSTEMS[name]
