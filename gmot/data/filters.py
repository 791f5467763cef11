"""Exclusion of utterances that training cannot use, and a report of the reasons.

CTC needs a frame per token and one more between two equal neighbours (Graves et al. 2006,
section 3.1); with fewer its loss is infinite.
"""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gmot.common import GmotError, PathLike, write_lines

log = logging.getLogger(__name__)


def required_frames(token_ids: Sequence[int]) -> int:
    """Length of the shortest CTC alignment: tokens plus adjacent repetitions."""
    return len(token_ids) + sum(a == b for a, b in zip(token_ids, token_ids[1:]))


def ctc_feasible(num_output_frames: int, token_ids: Sequence[int]) -> bool:
    """Whether CTC can align the tokens to so many output frames (after subsampling)."""
    return int(num_output_frames) >= max(1, required_frames(token_ids))


def filter_cuts(
    cuts: Iterable[Any],
    output_length: Callable[[int], int],
    tokenize: Callable[[str], Sequence[int]],
    report: PathLike | None = None,
    min_duration: float = 0.0,
    max_duration: float | None = None,
) -> list[Any]:
    """Cuts that can be trained on, in their order.

    Args:
      cuts: lhotse cuts with features and one supervision each.
      output_length: frames of features -> frames of the model's output.
      tokenize: text -> token ids; called once per distinct text.
      report: file of excluded utterances (id, seconds, frames, tokens, reason), perhaps none.
      min_duration, max_duration: in seconds; None: no limit.

    Raises:
      GmotError: none remains.
    """
    tokenize = functools.cache(tokenize)
    kept, lines = [], []
    kinds: Counter = Counter()
    for cut in cuts:
        ids = tokenize(cut.supervisions[0].text)
        kind, reason = _objection(cut, ids, output_length, min_duration, max_duration)
        if not kind:
            kept.append(cut)
            continue
        kinds[kind] += 1
        lines.append(f"{cut.id}\t{cut.duration:.3f}\t{cut.num_frames}\t{len(ids)}\t{reason}")
    if report is not None:
        write_lines(report, ["# id\tseconds\tframes\ttokens\treason", *lines])
    if lines:
        log.warning(
            "%d of %d training utterances excluded (%s)%s",
            *(len(lines), len(kept) + len(lines)),
            ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
            "" if report is None else f"; listed in {report}",
        )
    if not kept:  # load_cuts refuses a split without cuts
        first, *_, reason = lines[0].split("\t")
        raise GmotError(
            f"all {len(lines)} training utterances are excluded; the first: {first} ({reason})."
        )
    return kept


def _objection(
    cut: Any,
    ids: Sequence[int],
    output_length: Callable[[int], int],
    shortest: float,
    longest: float | None,
) -> tuple[str, str]:
    """Kind and details of the reason to exclude a cut; empty if there is none."""
    if not ids:
        return "no tokens", "no tokens"
    if cut.duration < shortest:
        return "too short", f"shorter than {shortest} s"
    if longest is not None and cut.duration > longest:
        return "too long", f"longer than {longest} s"
    frames = int(output_length(cut.num_frames))
    if not ctc_feasible(frames, ids):
        needed = required_frames(ids)
        return "fewer frames than CTC needs", f"{frames} output frames, CTC needs {needed}"
    return "", ""
