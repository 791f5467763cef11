"""Bootstrap of error rates over utterances or speakers, and over training seeds.

With ``e[k, u]`` errors in utterance ``u`` by the model of training seed ``k`` of ``K`` and
``l[u]`` reference characters, the estimate is

    CER = sum_k sum_u e[k, u] / (K sum_u l[u]),

and a replication with weights ``w[u]`` of utterances and ``v[k]`` of seeds is

    CER* = sum_k v[k] sum_u w[u] e[k, u] / (sum_k v[k] sum_u w[u] l[u]).

Intervals are the 2.5 and 97.5 percentiles of the replications.

* Unit ``utterance`` (M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR
  performance evaluation", ICASSP 2004): utterances are drawn with replacement, as independent
  ones; for new speakers the interval is too narrow.
* Unit ``speaker`` (cluster bootstrap): speakers are drawn with all their utterances.
* Seeds: drawn with replacement for experiments with several seeds, else ``v[0] = 1``.

Compared experiments share ``w``, so that differences are paired (same speakers and utterances);
their seeds are drawn independently. For ``x[k, s] = a[k] + b[s]`` with ``b[s]`` the mean of the
``m`` utterances of one of ``S`` speakers, the variance of the replications and its expectation are

    s_a^2 / K + s_b^2 / S,    var_seed / K + (var_speaker + var_utterance / m) / S.

Drawing utterances within the drawn speakers would count the variance of utterances twice
(A. C. Davison and D. V. Hinkley, "Bootstrap methods and their application", 1997, section 3.8).
Seeds and speakers are few, and ``N`` draws of ``N`` would underestimate their variance by
``(N - 1) / N``; therefore ``N - 1`` are drawn (J. N. K. Rao and C. F. J. Wu, "Resampling inference
with complex survey data", JASA 1988). The interaction of seeds and utterances is counted up to
three times (A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007), so that
intervals over seeds are conservative.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from gmot.common import GmotError

Speakers = Mapping[str, str | None]  # utterance -> speaker


def resample(
    counts: np.ndarray, replications: int, seed: int, speakers: Sequence[str] | None = None
) -> np.ndarray:
    """Sums of counts over resampled utterances or speakers: (replications, kinds).

    Args:
      counts: (utterances, kinds).
      seed: random seed.
      speakers: (utterances,), for the unit ``speaker``.
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


def resample_seeds(errors: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Errors of resampled training seeds.

    Args:
      errors: (replications, K).
      rng: random generator; unused for K = 1.
    Returns:
      Sums over the drawn seeds, (replications,), and the number of draws.
    """
    replications, seeds = errors.shape
    if seeds == 1:
        return errors[:, 0], 1
    drawn = rng.integers(seeds, size=(replications, seeds - 1))
    return np.take_along_axis(errors, drawn, axis=1).sum(axis=1), seeds - 1


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided bootstrap p-value of a difference of 0, at least 2 / (replications + 1)."""
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    return min(1.0, 2.0 * (1 + min(below, above)) / (len(differences) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for multiple comparisons.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979: controls the family-wise error rate under any dependence.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def require_speakers(names: Sequence[str], speakers: Speakers, origin: str, remedy: str) -> None:
    """Check that resampling by speaker is possible.

    Args:
      names: utterances.
      speakers: utterance -> speaker.
      origin, remedy: source of the utterances and next step, for the message.
    Raises:
      GmotError: an utterance without speaker, or only one speaker.
    """
    lacking = sorted(name for name in names if not speakers.get(name))
    if lacking:
        raise GmotError(
            f"{origin}: {len(lacking)} of {len(names)} utterances have no speaker, among them "
            f"'{lacking[0]}'; --unit speaker needs one for each. {remedy}"
        )
    if len({speakers[name] for name in names}) < 2:
        raise GmotError(
            f"{origin}: one speaker, '{speakers[names[0]]}'; expected two or more for --unit "
            "speaker. Use --unit utterance."
        )


def interval_of(intervals: Mapping[str, Sequence[float]], unit: str) -> tuple[str, float, float]:
    """Interval by a unit of resampling, or by utterance if there is none; the unit comes first."""
    unit = unit if unit in intervals else "utterance"
    low, high = intervals[unit]
    return unit, low, high


def conditions(
    unit: str, utterances: int, speakers: int | None, seeds: Sequence[int] = (1,)
) -> str:
    """Description of what an interval resamples and what it is conditional on.

    Args:
      unit: ``utterance`` or ``speaker``.
      speakers: number of speakers; None if unknown.
      seeds: number of training seeds per experiment.
    """
    whose = "unknown speakers" if speakers is None else count(speakers, "speaker")
    fixed = []
    if unit == "speaker":
        drawn = f"{whose} with their {count(utterances, 'utterance')}"
    else:
        drawn = f"{count(utterances, 'utterance')} of {whose}"
        fixed.append("this speaker" if speakers == 1 else "these speakers")
    pooled = [k for k in seeds if k > 1]
    if pooled:
        numbers = " and ".join(map(str, dict.fromkeys(pooled)))
        drawn = f"{numbers} training seeds and {drawn}"
    if len(pooled) < len(seeds):
        fixed.append("one training seed" + (" of the experiments that have one" if pooled else ""))
    return f"resampling {drawn}" + (f"; conditional on {' and '.join(fixed)}" if fixed else "")


def count(number: int, noun: str) -> str:
    """Number and noun, such as ``2 speakers``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
