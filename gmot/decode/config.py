"""Configuration of decoding. Imports no torch."""

import math
from dataclasses import dataclass, field
from typing import Any

from gmot.config import check, check_positive, check_range

BEAMS = ("search_beam", "output_beam", "min_active_states", "max_active_states")


@dataclass(frozen=True)
class DecodingConfig:
    """Decoding methods and the parameters of their searches."""

    methods: list[str] = field(default_factory=lambda: ["ctc-greedy-search"])
    """Decoding methods, or ``all``. Without graphs: ctc-greedy-search, ctc-prefix-beam-search.
    With k2 and H: ctc-decoding. With HLG: 1best, nbest, nbest-oracle. With HLG and G:
    nbest-rescoring, whole-lattice-rescoring, and with a masked LM (--teacher) plm-rescoring."""

    beam_size: int = 4
    """Prefixes kept per frame by ctc-prefix-beam-search."""

    hlg_scale: list[float] = field(default_factory=lambda: [0.6])
    """Scale of the LM scores in HLG; of several values, the one with the fewest 1best errors on
    the scale split."""

    search_beam: float = 20.0
    """Beam of the HLG search; larger is slower and more exact."""

    output_beam: float = 8.0
    """Beam of the HLG lattices."""

    min_active_states: int = 30
    """Minimum number of active states per frame; reduced to below max_active_states."""

    max_active_states: int = 10000
    """Maximum number of active states per frame; at most 1000000."""

    search_memory: float = 6.0
    """Memory of the HLG search in GB. Batches are divided to fit; an utterance that does not fit
    alone is searched with fewer active states (counted in results.json)."""

    num_paths: int = 100
    """Paths sampled per lattice for n-best lists, the best path included."""

    nbest_scale: float = 0.5
    """Scale of the lattice scores for path sampling; smaller gives more distinct paths."""

    num_plm_paths: int = 20
    """Best paths per n-best list that plm-rescoring scores with the masked LM."""

    scale_split: str = "dev"
    """Split on which HLG and LM scales are selected; stored in EXP/scales.json and used for the
    other splits."""

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "beam_size", "num_paths", "num_plm_paths")
        check_range(self, 0, 10**6, "min_active_states")
        check_range(self, 1, 10**6, "max_active_states")
        check_positive(self, "search_beam", "output_beam", "search_memory", "nbest_scale")
        valid = bool(self.hlg_scale) and all(0 <= scale < math.inf for scale in self.hlg_scale)
        check(self, valid, "hlg_scale", "one or several numbers, 0 or more")
        check(self, bool(self.methods), "methods", "one or several decoding methods")

    def beams(self, max_active_states: int | None = None) -> dict[str, Any]:
        """Beams of an HLG search; ``max_active_states`` if given is instead of the configured one.

        k2 requires min_active_states < max_active_states.
        """
        beams = {name: getattr(self, name) for name in BEAMS}
        most = max_active_states or self.max_active_states
        least = min(self.min_active_states, most - 1)
        return dict(beams, min_active_states=least, max_active_states=most)
