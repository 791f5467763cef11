"""Groups of utterances, such as adults and children, that are scored apart."""

import logging
from collections.abc import Iterable, Mapping

from gmot.common import GmotError, PathLike, read_utf8, require_file
from gmot.evaluation.bootstrap import Speakers

OTHER = "other"  # utterances that the file does not name


def ordered(groups: Iterable[str]) -> list[str]:
    """Distinct groups, sorted, with :data:`OTHER` last."""
    return sorted(set(groups), key=lambda group: (group == OTHER, group))


def rate_title(metric: str, group: str | None) -> str:
    """Such as ``WER``, or ``WER, adult``."""
    return metric if group is None else f"{metric}, {group}"


def read_groups(path: PathLike) -> dict[str, str]:
    """Read ``speaker-or-utterance group`` lines.

    Raises:
      GmotError: the file is missing, empty or not UTF-8, or a line is malformed or contradicts
        another one.
    """
    expected = "expected 'speaker-or-utterance group'"
    require_file(path, "Groups", f"{expected[:1].upper()}{expected[1:]} lines.")
    groups: dict[str, str] = {}
    for number, line in enumerate(read_utf8(path).split("\n"), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise GmotError(f"{path}, line {number}: found '{line.strip()[:60]}', {expected}.")
        name, group = fields
        if groups.setdefault(name, group) != group:
            raise GmotError(
                f"{path}, line {number}: '{name}' is in group '{groups[name]}' and '{group}', "
                "expected one group."
            )
    if not groups:
        raise GmotError(f"{path}: empty, {expected} lines.")
    return groups


def group_utterances(
    groups: Mapping[str, str], speakers: Mapping[str, Speakers], path: PathLike
) -> dict[str, dict[str, str]]:
    """Group of each utterance of each split: its own, or that of its speaker, or :data:`OTHER`.

    Logs how many utterances have a group.

    Args:
      groups: of :func:`read_groups`.
      speakers: split -> utterance -> speaker, or None without one.
      path: source of the groups, for messages.
    Raises:
      GmotError: no utterance of any split has a group.
    """
    found: dict[str, dict[str, str]] = {}
    lacking: dict[str, int] = {}
    for split, of_split in speakers.items():
        own = {u: groups.get(u) or groups.get(speaker or "") for u, speaker in of_split.items()}
        found[split] = {utterance: group or OTHER for utterance, group in own.items()}
        lacking[split] = list(own.values()).count(None)
    if all(lacking[split] == len(of_split) for split, of_split in found.items()):
        split, of_split = next(iter(speakers.items()))
        utterance, speaker = next(iter(of_split.items()))
        raise GmotError(
            f"{path}: names such as '{next(iter(groups))}', none of which is a speaker or an "
            f"utterance of {', '.join(speakers)}; those of {split} are such as '{speaker}' and "
            f"'{utterance}'. Give the --groups of this corpus."
        )
    for split, number in lacking.items():
        if number:
            logging.warning(
                "%s: %d of %d utterances of %s have no group and are scored as '%s'",
                *(path, number, len(found[split]), split, OTHER),
            )
    return found
