"""Exclusion of utterances that training cannot use, and a report of the reasons.

CTC needs a frame per token and one more between two equal neighbours (Graves et al. 2006,
section 3.1); with fewer its loss is infinite.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from gmot.common import GmotError, PathLike, write_lines
from gmot.data.cuts import CutTable
from gmot.data.dataset import LabelTable

log = logging.getLogger(__name__)


def select_cuts(
    cuts: CutTable,
    output_length: Callable[[int], int],
    labels: LabelTable,
    report: PathLike | None = None,
    min_duration: float = 0.0,
    max_duration: float | None = None,
) -> np.ndarray:
    """Rows ``(M,)`` of the cuts that can be trained on, in their order.

    Args:
      cuts: utterances of a split.
      output_length: frames of features -> frames of the model's output.
      labels: token ids of the distinct texts.
      report: file of excluded utterances (id, seconds, frames, tokens, reason), perhaps none.
      min_duration, max_duration: in seconds; None: no limit.

    Raises:
      GmotError: none remains.
    """
    lengths, inverse = np.unique(cuts.num_frames, return_inverse=True)
    frames = np.array([int(output_length(int(length))) for length in lengths])[inverse]
    needed = labels.required_frames[cuts.text_index]
    tokens = labels.lengths[cuts.text_index]
    longest = math.inf if max_duration is None else max_duration
    objections = {  # the first that holds
        "no tokens": tokens == 0,
        "too short": cuts.durations < min_duration,
        "too long": cuts.durations > longest,
        "fewer frames than CTC needs": frames < needed,
    }
    first = np.select([*objections.values()], [*range(len(objections))], -1)
    lines, kinds = [], Counter()
    for row in np.flatnonzero(first >= 0).tolist():
        kind = [*objections][first[row]]
        reason = {
            "no tokens": "no tokens",
            "too short": f"shorter than {min_duration} s",
            "too long": f"longer than {max_duration} s",
        }.get(kind, f"{frames[row]} output frames, CTC needs {needed[row]}")
        kinds[kind] += 1
        size = f"{cuts.durations[row]:.3f}\t{cuts.num_frames[row]}\t{tokens[row]}"
        lines.append(f"{cuts.ids[row]}\t{size}\t{reason}")
    if report is not None:
        write_lines(report, ["# id\tseconds\tframes\ttokens\treason", *lines])
    if lines:
        log.warning(
            "%d of %d training utterances excluded (%s)%s",
            *(len(lines), len(cuts)),
            ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
            "" if report is None else f"; listed in {report}",
        )
    if len(lines) == len(cuts):
        name, *_, reason = lines[0].split("\t")
        raise GmotError(
            f"all {len(lines)} training utterances are excluded; the first: {name} ({reason})."
        )
    return np.flatnonzero(first < 0)
