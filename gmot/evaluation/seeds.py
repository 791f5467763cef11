"""Results of one experiment with several training seeds: mean and spread."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gmot.common import GmotError
from gmot.evaluation.bootstrap import count
from gmot.evaluation.files import Record, parts

Chosen = Mapping[str, Sequence[Record]]  # experiment -> records
_SAME = ("transfer", "epoch", "avg", "average")


def unique(values: Iterable[Any]) -> list[Any]:
    """Distinct values other than None, in order."""
    return [value for value in dict.fromkeys(values) if value is not None]


def seeds_of(records: Sequence[Record]) -> list[int]:
    """Training seeds in the records of an experiment."""
    return unique(r.get("seed") for r in records)


def pool_seeds(chosen: Chosen) -> dict[str, list[Record]]:
    """Records by experiment: those of ``NAME_seed1``, ``NAME_seed2``, ... together as ``NAME``.

    ``NAME`` itself, a training with the default seed, belongs to them. Other names stay.

    Raises:
      GmotError: trainings of one experiment with the same seed, or with different transfers,
        epochs, splits or methods.
    """
    groups: dict[str, dict[str, list[Record]]] = {}
    for name, records in chosen.items():
        group = re.sub(rf"_seed{records[0].get('seed')}(?!\d)", "", name)
        groups.setdefault(group, {})[name] = list(records)
    pooled: dict[str, list[Record]] = {}
    for group, members in groups.items():
        if len(members) == 1:
            pooled.update(members)
            continue
        _check_same(members)
        pooled[group] = [r for records in members.values() for r in records]
    return pooled


def _check_same(members: Mapping[str, Sequence[Record]]) -> None:
    (name, first), *others = members.items()
    for other, records in others:
        differing = [f for f in _SAME if first[0].get(f) != records[0].get(f)]
        made, wanted = (
            {(r["split"], r["method"], *r["scores"]) for r in rs} for rs in (records, first)
        )
        differing += ["splits, methods or metrics"] if made != wanted else []
        if differing:
            raise GmotError(
                f"{name} and {other} are by their names seeds of one experiment, but differ in "
                f"{', '.join(differing)}. Decode both alike, or summarize them apart."
            )
    seeds = [records[0].get("seed") for records in members.values()]
    if len(set(seeds)) < len(seeds):
        raise GmotError(f"{', '.join(members)}: training seeds {seeds}, expected different ones.")


def mean_and_spread(rates: Sequence[float]) -> str:
    """``mean ± standard deviation`` of error rates over seeds (denominator n - 1)."""
    return f"{statistics.mean(rates):.2f} ± {statistics.stdev(rates):.2f}"


def spread_lines(pooled: Chosen) -> list[str]:
    """One line per split and group: what mean and spread are over and are conditional on."""
    found = [
        (name, tuple(seeds_of(records)), score["num_utterances"], score.get("num_speakers"))
        for records in pooled.values()
        if len(seeds_of(records)) > 1
        for r in records
        for name, score in parts(r)
    ]
    return [
        f"- mean ± standard deviation of {name} over {len(seeds)} training seeds "
        f"({', '.join(map(str, seeds))}), no interval of the mean: conditional on these "
        f"{count(utterances, 'utterance')} of "
        f"{'unknown speakers' if speakers is None else count(speakers, 'speaker')}"
        for name, seeds, utterances, speakers in unique(found)
    ]
