"""Features computed from the audio whenever an utterance is loaded: those of the fbank stage."""

import functools
from typing import Any

import numpy as np

from gmot.common import GmotError
from gmot.data.archive import to_half
from gmot.data.audio import audio_reason, load_samples
from gmot.data.pitch import NAME as PITCH
from gmot.data.pitch import NUM_PITCH, fbank_with_pitch
from gmot.executors import in_one_thread

FBANK = "kaldi-fbank"  # lhotse's name


@functools.cache
def make_extractor(num_mel_bins: int, sampling_rate: int, pitch: bool) -> Any:
    """lhotse's extractor of filter banks, with three pitch features where wanted."""
    from lhotse import Fbank, FbankConfig

    config = FbankConfig(sampling_rate=sampling_rate, num_filters=num_mel_bins)
    return fbank_with_pitch(config) if pitch else Fbank(config)


def compute_features(cut: Any, kind: str, num_features: int) -> np.ndarray:
    """Features ``(T, F)`` of a lhotse cut with audio, rounded to half precision, as float32.

    Args:
      kind: lhotse's name of the type of features.
      num_features: F, pitch included.

    Raises:
      GmotError: the audio cannot be read, or the features are of another type.
    """
    if kind not in (FBANK, PITCH):
        raise GmotError(
            f"'{cut.id}': features of type {kind} cannot be computed on the fly, only {FBANK} and "
            f"{PITCH}. Set data.features to stored."
        )
    num_mel_bins = num_features - (NUM_PITCH if kind == PITCH else 0)
    extractor = make_extractor(num_mel_bins, cut.sampling_rate, kind == PITCH)
    try:
        features = in_one_thread(extractor.extract, load_samples(cut), cut.sampling_rate)
        return to_half(np.asarray(features)).astype(np.float32)
    except MemoryError:
        raise
    except Exception as error:  # lhotse's backends raise exceptions of many kinds
        raise GmotError(
            f"features of '{cut.id}' cannot be computed: {audio_reason(error)}. Restore its audio, "
            "or run the fbank stage again, which leaves it out."
        ) from error
