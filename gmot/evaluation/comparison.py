"""Comparison of experiments by paired bootstrap (:mod:`gmot.evaluation.bootstrap`)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gmot.common import GmotError
from gmot.evaluation import bootstrap
from gmot.evaluation.groups import ordered, rate_title
from gmot.evaluation.runs import Run
from gmot.evaluation.scoring import Score, score
from gmot.text.scoring_units import CER, Metric

REMEDY = (
    "Decode again (local/decode.py stores the speakers of the cuts; the corpus needs an utt2spk), "
    "or use --unit utterance."
)


@dataclass(frozen=True)
class Compared:
    """An experiment compared with the first one. Rates are in per cent.

    Attributes:
      name: names of its runs.
      scores: one per training seed.
      rate: error rate, mean over the seeds.
      ci_low, ci_high: 95 % interval of the rate.
      difference: rate minus that of the first experiment; negative if better.
      low, high: 95 % interval of the difference, paired.
      improvement: bootstrap probability of fewer errors than the first one; replications with equal
        errors count half.
      p: two-sided bootstrap p-value of no difference.
      corrected_p: corrected for the number of comparisons (Holm).
    """

    name: str
    scores: Sequence[Score]
    rate: float
    ci_low: float
    ci_high: float
    difference: float
    low: float
    high: float
    improvement: float
    p: float
    corrected_p: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """Experiments compared with the first of them (which has a difference of 0).

    Attributes:
      experiments: in the given order.
      unit: unit of resampling, ``utterance`` or ``speaker``.
      group: of utterances; None: all.
    """

    experiments: Sequence[Compared]
    unit: str
    group: str | None = None

    @property
    def metric(self) -> Metric:
        """The error rate compared."""
        return self.experiments[0].scores[0].metric

    @property
    def title(self) -> str:
        """Such as ``WER`` or ``WER, adult``."""
        return rate_title(self.metric.name, self.group)

    @property
    def conditions(self) -> str:
        """What the intervals resample and what they are conditional on."""
        first = self.experiments[0].scores[0]
        seeds = [len(experiment.scores) for experiment in self.experiments]
        return bootstrap.conditions(self.unit, first.num_utterances, first.num_speakers, seeds)


def compare_all(
    experiments: Sequence[Sequence[Run]],
    metrics: Sequence[Metric],
    unit: str = "utterance",
    replications: int = 10000,
    seed: int = 0,
) -> list[Comparison]:
    """Comparisons (:func:`compare`) by each metric, of all utterances and of each group.

    Groups are compared if all runs have them; one without reference text, or with fewer than two
    speakers for the unit ``speaker``, is left out with a warning.
    """
    options = (unit, replications, seed)
    runs = [run for of_one in experiments for run in of_one]
    known = ordered(runs[0].groups.values()) if all(run.groups for run in runs) else []
    found = []
    for metric in metrics:
        found.append(compare(experiments, *options, metric))
        for group in known:
            members = [[run.of_group(group) for run in of_one] for of_one in experiments]
            try:
                found.append(replace(compare(members, *options, metric), group=group))
            except GmotError as error:
                logging.warning("group '%s' is not compared: %s", group, error)
    return found


def compare(
    experiments: Sequence[Sequence[Run]],
    unit: str = "utterance",
    replications: int = 10000,
    seed: int = 0,
    metric: Metric = CER,
) -> Comparison:
    """Compare experiments with the first one, on the same draws of utterances or speakers.

    Args:
      experiments: two or more; each the runs of one configuration with different training seeds,
        all with the same utterances, references and speakers.
      unit: unit of resampling, ``utterance`` or ``speaker``.
      replications: number of bootstrap replications.
      seed: random seed of the bootstrap.
      metric: error rate.
    Raises:
      GmotError: fewer than two experiments, no replications, runs with different utterances,
        references or speakers, or the unit ``speaker`` without speakers.
    """
    if len(experiments) < 2:
        raise GmotError(f"compare: {len(experiments)} experiments, expected two or more.")
    if replications < 1:
        raise GmotError(f"compare: {replications} replications, expected 1 or more.")
    first = experiments[0][0]
    for run in (run for runs in experiments for run in runs):
        if unit == "speaker":
            bootstrap.require_speakers(list(run.refs), run.speakers, run.file or run.name, REMEDY)
        _check_same(first, run)
    scores = [
        [score(r.refs, r.hyps, speakers=r.speakers, metric=metric) for r in runs]
        for runs in experiments
    ]
    owners = [first.speakers[u] for u in scores[0][0].alignments] if unit == "speaker" else None
    counts = [s.utterance_counts for of_one in scores for s in of_one]
    columns = [counts[0][:, 3], *(c[:, :3].sum(axis=1) for c in counts)]
    sums = bootstrap.resample(np.stack(columns, axis=1), replications, seed, owners)
    lengths = np.maximum(1, sums[:, 0])
    errors = np.split(sums[:, 1:], np.cumsum([len(s) for s in scores])[:-1], axis=1)
    streams = np.random.SeedSequence(seed).spawn(len(scores))  # independent of the units' draws
    drawn = [bootstrap.resample_seeds(e, np.random.default_rng(s)) for e, s in zip(errors, streams)]
    rates = [sum(s.rate for s in of_one) / len(of_one) for of_one in scores]
    (first_errors, first_seeds), found = drawn[0], []
    for runs, of_one, rate, (made, seeds) in zip(experiments, scores, rates, drawn):
        more = made * first_seeds - first_errors * seeds  # integers, so that ties are exact
        found.append(
            Compared(
                " + ".join(run.name for run in runs),
                of_one,
                rate,
                *bootstrap.interval(100.0 * made / (seeds * lengths)),
                rate - rates[0],
                *bootstrap.interval(100.0 * more / (seeds * first_seeds * lengths)),
                float(np.mean(more < 0) + 0.5 * np.mean(more == 0)),
                bootstrap.p_value(more),
            )
        )
    corrected = [1.0, *bootstrap.holm([c.p for c in found[1:]])]
    return Comparison([replace(c, corrected_p=p) for c, p in zip(found, corrected)], unit)


def _check_same(first: Run, other: Run) -> None:
    what = f"'{first.file or first.name}' and '{other.file or other.name}' cannot be compared"
    if first.refs.keys() != other.refs.keys():
        raise GmotError(
            f"{what}: different utterances; only in the first: "
            f"{sorted(first.refs.keys() - other.refs.keys())[:3]}, only in the second: "
            f"{sorted(other.refs.keys() - first.refs.keys())[:3]}. Decode the same split with the "
            "same manifests."
        )
    of_both = [("references", first.refs, other.refs)]
    if first.speakers and other.speakers:
        of_both.append(("speakers", dict(first.speakers), dict(other.speakers)))
    if first.groups and other.groups:
        of_both.append(("groups", dict(first.groups), dict(other.groups)))
    for kind, one, two in of_both:
        differ = [name for name in sorted(first.refs) if one.get(name) != two.get(name)]
        if differ:
            raise GmotError(
                f"{what}: {len(differ)} {kind} differ; of '{differ[0]}': '{one.get(differ[0])}' "
                f"and '{two.get(differ[0])}'. Decode both with the same manifests."
            )
