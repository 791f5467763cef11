"""Utterances of a decoded split with the most errors: their alignments, as HTML, and audio."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from gmot.analysis import page
from gmot.common import PathLike
from gmot.data.clips import Clips
from gmot.evaluation.files import primary, read_recogs, recogs_path
from gmot.evaluation.scoring import GAP, Pair, align
from gmot.evaluation.seeds import unique
from gmot.text.scoring_units import METRICS

ERRORS = {"sub": "substitution", "del": "deletion", "ins": "insertion"}


class Utterance(NamedTuple):
    """Attributes:
    pairs: aligned units of reference and hypothesis.
    ins, dels, sub: number of errors.
    """

    id: str
    pairs: list[Pair]
    ins: int
    dels: int
    sub: int

    @property
    def errors(self) -> int:
        return self.ins + self.dels + self.sub

    @property
    def ref_len(self) -> int:
        return sum(ref != GAP for ref, _ in self.pairs)

    @property
    def counts(self) -> str:
        """``2 sub, 1 ins``."""
        numbers = {"sub": self.sub, "del": self.dels, "ins": self.ins}
        return ", ".join(f"{number} {name}" for name, number in numbers.items() if number)


def kind(pair: Pair) -> str:
    """``cor``, ``ins``, ``del`` or ``sub``."""
    ref, hyp = pair
    if ref == hyp:
        return "cor"
    return "ins" if ref == GAP else "del" if hyp == GAP else "sub"


def worst_utterances(exp_dir: PathLike, record: dict[str, Any], count: int) -> list[Utterance]:
    """Utterances with the most errors of the primary metric, then with the highest rate.

    Args:
      exp_dir: folder of the experiment.
      record: of ``results.json``; its recogs file is read.
      count: most utterances; those without errors are left out.
    Raises:
      GmotError: missing or malformed recogs file.
    """
    recogs = read_recogs(recogs_path(exp_dir, record))
    found = []
    for name, pairs in align(recogs.refs, recogs.hyps, METRICS[primary(record)[0]]).items():
        kinds = [kind(pair) for pair in pairs]
        errors = (kinds.count(which) for which in ("ins", "del", "sub"))
        found.append(Utterance(name, pairs, *errors))
    found = [u for u in found if u.errors]
    found.sort(key=lambda u: (-u.errors, u.ref_len, u.id))
    return found[:count]


def listed(utterances: Sequence[Utterance], clips: Clips, noun: str) -> str:
    """HTML of utterances with coloured alignments and, where there is one, their audio.

    ``noun``: the aligned units, such as ``characters``.
    """
    legend = " ".join(f'<span class="pair {k}">{name}</span>' for k, name in ERRORS.items())
    left_out = ""
    if clips.left_out:
        reasons = unique(clips.left_out.values())
        more = f" and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
        left_out = f"&ensp;Without audio: {len(clips.left_out)} ({escape(reasons[0])}{more})."
    items = "".join(f"<li>{_utterance(u, clips, noun)}</li>\n" for u in utterances)
    return f'<p class="legend soft">{legend}{left_out}</p><ol class="utterances">{items}</ol>'


def _utterance(utterance: Utterance, clips: Clips, noun: str) -> str:
    flac = clips.flac.get(utterance.id)
    pairs = "".join(
        f'<span class="pair {kind(pair)}">'
        + "".join(f"<span>{escape(unit) or '&ndash;'}</span>" for unit in pair)
        + "</span>"
        for pair in utterance.pairs
    )
    return (
        f'<header><code>{escape(utterance.id)}</code><span class="soft">{utterance.counts} in '
        f"{utterance.ref_len} {noun}</span>"
        f"{page.audio(flac) if flac else ''}</header>"
        '<div class="alignment"><span class="sides"><span>ref</span><span>hyp</span></span>'
        f"{pairs}</div>"
    )
