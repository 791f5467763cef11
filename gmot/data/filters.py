"""Utterances that training leaves out, and a report that says why.

CTC needs a frame for each token and one more between two equal neighbours
(Graves et al. 2006, section 3.1); with fewer its loss is infinite. Here is the
one place that decides it, with the frames that the model really puts out.
"""

import logging
from collections import Counter
from typing import Any, Callable, Iterable, List, Optional, Sequence

from gmot.common import GmotError, PathLike, atomic_path

log = logging.getLogger(__name__)


def required_frames(token_ids: Sequence[int]) -> int:
    """The shortest CTC alignment: tokens plus adjacent repetitions."""
    repeats = sum(a == b for a, b in zip(token_ids, token_ids[1:]))
    return len(token_ids) + repeats


def ctc_feasible(num_output_frames: int, token_ids: Sequence[int]) -> bool:
    """Whether CTC can align the tokens to the model's output frames.

    Args:
      num_output_frames: T', after subsampling.
      token_ids: the transcript.
    """
    return int(num_output_frames) >= max(1, required_frames(token_ids))


def filter_cuts(
    cuts: Iterable[Any],
    output_length: Callable[[int], int],
    tokenize: Callable[[str], Sequence[int]],
    report: Optional[PathLike] = None,
    min_duration: float = 0.0,
    max_duration: Optional[float] = None,
) -> List[Any]:
    """Leave out what cannot be trained on.

    Args:
      cuts: lhotse cuts with features and one supervision each.
      output_length: frames of features to frames of the model's output.
      tokenize: text to token ids.
      report: file for one line per utterance left out: id, seconds, feature
        frames, tokens, reason, separated by tabs. It is always written.
      min_duration: in seconds.
      max_duration: in seconds, None for no limit.

    Returns:
      The cuts that are left, in their order.

    Raises:
      GmotError: none is left.
    """
    kept, lines = [], []
    reasons: Counter = Counter()
    for cut in cuts:
        ids = tokenize(cut.supervisions[0].text)
        frames = int(output_length(cut.num_frames))
        if not ids:
            kind, reason = "no tokens", "no tokens"
        elif cut.duration < min_duration:
            kind = "too short"
            reason = f"shorter than {min_duration} s"
        elif max_duration is not None and cut.duration > max_duration:
            kind = "too long"
            reason = f"longer than {max_duration} s"
        elif not ctc_feasible(frames, ids):
            kind = "fewer frames than CTC needs"
            reason = f"{frames} output frames, CTC needs {required_frames(ids)}"
        else:
            kept.append(cut)
            continue
        reasons[kind] += 1
        lines.append(f"{cut.id}\t{cut.duration:.3f}\t{cut.num_frames}\t{len(ids)}\t{reason}\n")
    if report is not None:
        with atomic_path(report) as path:
            path.write_text(
                "# id\tseconds\tframes\ttokens\treason\n" + "".join(lines), encoding="utf-8"
            )
    if lines:
        log.warning(
            "%d of %d training utterances left out (%s)%s",
            len(lines),
            len(kept) + len(lines),
            ", ".join(f"{count} {kind}" for kind, count in reasons.most_common()),
            "" if report is None else f"; listed in {report}",
        )
    if not kept:
        example = lines[0].strip().split("\t") if lines else ["", "there was none"]
        raise GmotError(
            f"no training utterance is left of {len(lines)}; "
            f"the first left out: {example[0]} ({example[-1]})"
        )
    return kept
