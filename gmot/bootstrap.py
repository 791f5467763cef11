"""Bootstrap resampling of error counts: utterances or speakers, and training seeds.

Notation: ``e[k, u]`` errors in utterance ``u`` of ``n`` by the model of training seed ``k`` of
``K``, ``l[u]`` reference characters, ``S`` speakers. The estimate is

    CER = sum_k sum_u e[k, u] / (K sum_u l[u]),

and a replication is the same ratio with draws ``w[u]`` of utterances and ``v[k]`` of seeds,

    CER* = sum_k v[k] sum_u w[u] e[k, u] / (sum_k v[k] sum_u w[u] l[u]).

Intervals are the 2.5 and 97.5 percentiles of the replications.

* Unit ``utterance`` (M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR
  performance evaluation", ICASSP 2004): ``w`` counts ``n`` draws with replacement from ``n``
  utterances. Utterances of a speaker are treated as independent; for other speakers the
  interval is too narrow.
* Unit ``speaker`` (cluster bootstrap): speakers are drawn with replacement, each with all its
  utterances.
* Seeds: drawn with replacement where a system has several (``v``), else ``v[0] = 1``.

Systems that are compared share ``w``, so that differences are paired (same speakers, same
utterances); their seeds are drawn independently. This is the hierarchy of seed, speaker and
utterance: for ``x[k, s] = a[k] + b[s]`` with ``b[s]`` the mean of a speaker's ``m`` utterances,
the variance of the replications, and its expectation, are

    s_a^2 / K + s_b^2 / S,    var_seed / K + (var_speaker + var_utterance / m) / S.

The variance of utterances is part of ``s_b^2``: a further draw of utterances within the speakers
that are drawn would count it twice (A. C. Davison and D. V. Hinkley, "Bootstrap methods and their
application", 1997, section 3.8). Seeds and speakers are few, and ``N`` draws of ``N`` would
underestimate their variance by ``(N - 1) / N``; therefore ``N - 1`` are drawn (J. N. K. Rao and
C. F. J. Wu, "Resampling inference with complex survey data", JASA 1988). Seeds and utterances are
crossed: an interaction between them is counted up to three times (A. B. Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 2007), so that an interval over seeds is rather too wide.
"""

from typing import List, Mapping, Optional, Sequence, Tuple

import numpy as np

from gmot.common import GmotError

UNITS = ("utterance", "speaker")
Speakers = Mapping[str, Optional[str]]  # utterance -> speaker


def resample(
    counts: np.ndarray, replications: int, seed: int, speakers: Optional[Sequence[str]] = None
) -> np.ndarray:
    """Sums of counts over resampled utterances or speakers.

    Args:
      counts: (utterances, kinds).
      replications: number of resamplings.
      seed: of the draws.
      speakers: speaker of each utterance, for the unit ``speaker``.
    Returns:
      (replications, kinds).
    """
    draws = len(counts)
    if speakers is not None:
        names, owners = np.unique(np.asarray(speakers), return_inverse=True)
        totals = np.zeros((len(names), counts.shape[1]), dtype=counts.dtype)
        np.add.at(totals, owners, counts)
        counts, draws = totals, len(names) - 1
    rng = np.random.default_rng(seed)
    sums = np.empty((replications, counts.shape[1]), dtype=counts.dtype)
    for row in sums:
        row[:] = np.bincount(rng.integers(len(counts), size=draws), minlength=len(counts)) @ counts
    return sums


def resample_seeds(errors: np.ndarray, rng: np.random.Generator) -> Tuple[np.ndarray, int]:
    """Errors of resampled training seeds.

    Args:
      errors: (replications, K), of the model of each seed.
      rng: for the draws; unused for K = 1.
    Returns:
      Sums over the seeds drawn, (replications,), and their number.
    """
    replications, seeds = errors.shape
    if seeds == 1:
        return errors[:, 0], 1
    drawn = rng.integers(seeds, size=(replications, seeds - 1))
    return np.take_along_axis(errors, drawn, axis=1).sum(axis=1), seeds - 1


def interval(values: np.ndarray) -> Tuple[float, float]:
    """The 2.5 and 97.5 percentiles."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided bootstrap p-value of a difference of 0, at least 2 / (replications + 1)."""
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    return min(1.0, 2.0 * (1 + min(below, above)) / (len(differences) + 1))


def holm(p_values: Sequence[float]) -> List[float]:
    """P-values corrected for their number.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979: controls the probability of any false rejection, whatever their dependence.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def require_speakers(names: Sequence[str], speakers: Speakers, origin: str, remedy: str) -> None:
    """Check that the unit ``speaker`` is possible.

    Args:
      names: utterances.
      speakers: utterance -> speaker.
      origin: of the utterances, for the message.
      remedy: for the message.
    Raises:
      GmotError: an utterance has no speaker, or there is only one speaker.
    """
    lacking = sorted(name for name in names if not speakers.get(name))
    if lacking:
        raise GmotError(
            f"{origin}: {len(lacking)} of {len(names)} utterances have no speaker, the first of "
            f"them '{lacking[0]}', and --unit speaker needs one for each. {remedy}"
        )
    if len({speakers[name] for name in names}) < 2:
        raise GmotError(
            f"{origin}: all utterances are of one speaker, '{speakers[names[0]]}'; expected two or "
            "more for --unit speaker. Use --unit utterance."
        )


def conditions(
    unit: str, utterances: int, speakers: Optional[int], seeds: Sequence[int] = (1,)
) -> str:
    """What an interval resamples, and what it is conditional on.

    Args:
      unit: ``utterance`` or ``speaker``.
      utterances: their number.
      speakers: their number; None if it is not known.
      seeds: number of training seeds of each system.
    """
    whose = "unknown speakers" if speakers is None else _count(speakers, "speaker")
    fixed = []
    if unit == "speaker":
        drawn = f"{whose} with their {_count(utterances, 'utterance')}"
    else:
        drawn = f"{_count(utterances, 'utterance')} of {whose}"
        fixed.append("this speaker" if speakers == 1 else "these speakers")
    pooled = [k for k in seeds if k > 1]
    if pooled:
        numbers = " and ".join(map(str, dict.fromkeys(pooled)))
        drawn = f"{numbers} training seeds and {drawn}"
    if len(pooled) < len(seeds):
        fixed.append("one training seed" + (" of the systems that have one" if pooled else ""))
    return f"resampling {drawn}" + (f"; conditional on {' and '.join(fixed)}" if fixed else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
