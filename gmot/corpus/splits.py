"""Proposal of the splits train, dev and test of a corpus."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gmot.common import GmotError
from gmot.data.kaldi import WHOLE, Split

SPLITS = ("train", "dev", "test")
# Usual names of the splits, up to the first character that is neither letter nor digit.
NAMES = {
    "train": r"(train|training|tr)\d*",
    "dev": r"(dev|devel|development|val|valid|validation|cv)\d*",
    "test": r"(test|testing|tst|eval|evaluation)\d*",
}
MOST_HOURS = 2.0  # of a proposed dev or test split
FEWEST_SPEAKERS = 4  # of a corpus whose splits are proposed by speaker
TOLERANCE = 1.5  # largest proposed split, relative to its intended size
MOST_OF_A_SPEAKER = 0.25  # share of the speech up to which one speaker may be a split


@dataclass
class Proposal:
    """Splits of a corpus.

    Attributes:
      lists: split -> ids of its utterances.
      sources: splits of the corpus that they are from.
      notes: how each split came about.
      left_out: (utterance, reason).
    """

    lists: dict[str, list[str]] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def role_of(name: str) -> str | None:
    """Which of train, dev and test a name says; None: none of them."""
    first = re.split(r"[^a-z0-9]", name.lower())[0]
    return next((role for role, names in NAMES.items() if re.fullmatch(names, first)), None)


def share(hours: float) -> float:
    """Share of a corpus that a proposed dev or test split has."""
    return min(0.1 if hours < 10 else 0.05, MOST_HOURS / max(hours, 1e-9))


def propose_splits(
    splits: Sequence[Split], copies: Mapping[str, str] | None = None, seed: int = 0
) -> Proposal:
    """Train, dev and test of a corpus: its own, and where it has none, parts of its train split.

    Splits of a corpus are recognised by their names (``train-clean-100``, ``valid``, ``test2``);
    several of one kind are joined. A missing dev or test split is taken from train: whole speakers
    where the speakers are known and there are enough of them, else utterances, all of one text
    together.

    Args:
      splits: of the corpus, with normalised text.
      copies: utterance -> another with the same audio; such utterances are left out of train.
      seed: of the random choice.

    Raises:
      GmotError: there are too few utterances.
    """
    roles = _roles(splits)
    proposal = Proposal(sources=[split.name for split in splits if roles[split.name]])
    parts: dict[str, dict[str, Any]] = {name: {} for name in SPLITS}
    for split in splits:
        role = roles[split.name]
        if role is None:
            proposal.notes.append(
                f"not used: '{split.name}', {len(split.supervisions)} utterances (its name says "
                "neither train, dev nor test)"
            )
        else:
            parts[role].update(split.supervisions)
    for role, names in _by_role(roles).items():
        if names == [WHOLE]:
            names = ["the corpus, which has no splits"]
        if names != [role]:
            proposal.notes.append(f"{role}: {', '.join(names)}")
    for key in (copies or {}).keys() & parts["train"].keys():
        del parts["train"][key]
        proposal.left_out.append((key, f"same audio as {(copies or {})[key]}"))
    proposal.left_out.sort()
    missing = [name for name in ("test", "dev") if not parts[name]]
    usable = sum(map(len, parts.values()))
    if len(parts["train"]) <= len(missing):
        raise GmotError(
            f"{usable} usable utterances, of them {len(parts['train'])} for training: expected at "
            f"least {len(missing) + 1}, from which {' and '.join(missing) or 'nothing'} is taken."
        )
    hours = sum(s.duration for s in parts["train"].values()) / 3600
    by_speaker = True
    for name in missing:
        generator = random.Random(f"{seed} {name}")
        chosen, how, by_speaker = _take(
            parts["train"], share(hours) * hours * 3600, generator, by_speaker
        )
        parts[name] = {key: parts["train"].pop(key) for key in chosen}
        proposal.notes.append(f"{name}: taken from train, {how}")
    proposal.lists = {name: sorted(parts[name]) for name in SPLITS}
    return proposal


def _roles(splits: Sequence[Split]) -> dict[str, str | None]:
    roles = {split.name: role_of(split.name) for split in splits}
    if "train" not in roles.values():  # the splits that say nothing, or else all
        unnamed = [name for name, role in roles.items() if role is None]
        roles.update(dict.fromkeys(unnamed or roles, "train"))
    return roles


def _by_role(roles: Mapping[str, str | None]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for role in SPLITS:
        if found := [name for name, r in roles.items() if r == role]:
            names[role] = found
    return names


def _take(
    supervisions: Mapping[str, Any], seconds: float, generator: random.Random, by_speaker: bool
) -> tuple[list[str], str, bool]:
    """Utterances of about ``seconds``, how they were chosen, and whether by speaker.

    If ``by_speaker`` is false, another split was not, and shares the speakers anyway.
    """
    groups = _groups(supervisions, lambda s: s.speaker or "")
    speakers = len(groups.keys() - {""})
    why = "as those of the other split"
    if by_speaker and not speakers:
        why = "no speakers are known"
    elif by_speaker and "" in groups:
        why = "speakers are known of some utterances only"
    elif by_speaker and speakers < FEWEST_SPEAKERS:
        why = f"speakers: {speakers}, too few to separate"
    elif by_speaker:
        chosen = _choose(supervisions, groups, seconds, generator, TOLERANCE)
        if not chosen:
            chosen = _shortest(supervisions, groups)
        if chosen:
            count = len({supervisions[key].speaker for key in chosen})
            return chosen, f"{count} of {speakers} speakers", True
        why = "each speaker has too much of the speech"
    groups = _groups(supervisions, lambda s: s.text)
    chosen = _choose(supervisions, groups, seconds, generator, TOLERANCE)
    if not chosen:  # texts that occur too often
        groups = {key: [key] for key in supervisions}
        chosen = _choose(supervisions, groups, seconds, generator, float("inf"))
    return chosen, f"{len(chosen)} utterances at random ({why})", False


def _shortest(supervisions: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[str]:
    """Utterances of the speaker with the least speech, if that is a small share."""
    seconds = {k: sum(supervisions[key].duration for key in keys) for k, keys in groups.items()}
    name = min(sorted(seconds), key=lambda k: seconds[k])
    return groups[name] if seconds[name] <= MOST_OF_A_SPEAKER * sum(seconds.values()) else []


def _groups(supervisions: Mapping[str, Any], key_of: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, supervision in supervisions.items():
        groups[key_of(supervision)].append(key)
    return groups


def _choose(
    supervisions: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    seconds: float,
    generator: random.Random,
    tolerance: float,
) -> list[str]:
    """Utterances of whole groups, at random, up to ``seconds`` times ``tolerance``."""
    order: Iterable[str] = generator.sample(sorted(groups), len(groups))
    chosen: list[str] = []
    total = 0.0
    for name in order:
        length = sum(supervisions[key].duration for key in groups[name])
        if total >= seconds:
            break
        if total + length <= seconds * tolerance and len(chosen) + len(groups[name]) < len(
            supervisions
        ):
            chosen += groups[name]
            total += length
    return chosen
