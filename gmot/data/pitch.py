"""Three features of the voice's pitch, to stand beside the filter bank: Kaldi's own.

They are those of Ghahremani et al., "A pitch extraction algorithm tuned for automatic speech
recognition" (ICASSP 2014), computed by Kaldi's code in kaldi_native_fbank, which is imported here
alone. They take 0.002 CPU seconds a second of speech, the filter bank 0.0007.
"""

from typing import Any

import numpy as np

from gmot.common import GmotError

NUM_PITCH = 3
NAME = "kaldi-fbank-pitch"  # of the features, in manifests
FULL_SCALE = 32768  # Kaldi's samples are 16 bit integers; how quiet a frame is counts


def import_kaldi() -> Any:
    """The module ``kaldi_native_fbank``.

    Raises:
      GmotError: it cannot be imported, or is of a version without pitch.
    """
    try:
        import kaldi_native_fbank
        from kaldi_native_fbank import compute_and_process_kaldi_pitch  # noqa: F401 (from 1.23 on)
    except ImportError as error:
        raise GmotError(
            f"--pitch needs kaldi_native_fbank, which cannot be imported ({error}). Install it: "
            "pip install -r requirements/pitch.txt"
        ) from None
    return kaldi_native_fbank


def pitch_features(samples: np.ndarray, sampling_rate: int, num_frames: int) -> np.ndarray:
    """Pitch in each frame of the filter bank.

    Kaldi's frames lie 4 to 9 ms before the filter bank's, the more the higher the voice; a leap
    of an octave or more within a voiced stretch is not seen.

    Args:
      samples: (n,) of one channel, in -1 .. 1.
      sampling_rate: in Hz.
      num_frames: T, of 10 ms.
    Returns:
      (T, 3) float32, of Kaldi's scales: how far the frame is from being voiced, about 0 where
      there is no voice and -1.5 where nothing else is; twice the natural logarithm of the pitch
      less its mean over 1.5 s, weighed by voicing; ten times the slope of the logarithm, a frame,
      with the noise that Kaldi adds (the same at every call).

    Raises:
      GmotError: kaldi_native_fbank is missing.
    """
    kaldi = import_kaldi()
    options = kaldi.PitchExtractionOptions(samp_freq=sampling_rate, snip_edges=False)
    pitch = kaldi.compute_and_process_kaldi_pitch(
        options, kaldi.ProcessPitchOptions(), samples * np.float32(FULL_SCALE)
    )
    # Pitch is sought in samples of 4 kHz, so the count may round otherwise than the filter bank's.
    return np.asarray(pitch)[np.minimum(np.arange(num_frames), len(pitch) - 1)]


def fbank_with_pitch(config: Any) -> Any:
    """lhotse's filter bank with three columns more.

    Args:
      config: lhotse's ``FbankConfig``.

    Raises:
      GmotError: kaldi_native_fbank is missing.
    """
    from lhotse import Fbank

    class FbankPitch(Fbank):
        name = NAME

        def feature_dim(self, sampling_rate: int) -> int:
            return super().feature_dim(sampling_rate) + NUM_PITCH

        def extract(self, samples: Any, sampling_rate: int) -> Any:
            bank = np.asarray(super().extract(samples, sampling_rate))
            wave = np.asarray(samples, dtype=np.float32).reshape(-1)
            return np.concatenate([bank, pitch_features(wave, sampling_rate, len(bank))], axis=1)

    import_kaldi()  # now, not at the first utterance
    return FbankPitch(config)
