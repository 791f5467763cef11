"""Audio files as lhotse's recordings, and the causes of lhotse's errors in one line each."""

import re
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_CAUSE = 200  # characters


class NonFiniteError(ValueError):
    """Samples or features that are NaN or infinite."""


def describe_audio(key: str, path: Path) -> Any:
    """A recording (lhotse's), or the reason why there is none."""
    from lhotse import Recording

    path = path.absolute()
    if not path.is_file():
        return f"no such file: {path}"
    try:
        # lhotse's backends raise exceptions of many kinds on bad audio.
        recording = Recording.from_file(path, recording_id=key)
    except Exception as error:
        return audio_reason(error, path)
    if recording.num_samples == 0:
        return f"no samples in {path}"
    return recording


def load_samples(cut: Any) -> np.ndarray:
    """The samples ``(1, n)`` of a lhotse cut, float32.

    Raises:
      NonFiniteError: a sample is NaN or infinite. Other exceptions are lhotse's.
    """
    samples = cut.load_audio()
    finite = np.isfinite(samples[0])
    if not finite.all():
        first = int(np.argmin(finite))
        raise NonFiniteError(
            f"{len(finite) - int(finite.sum())} samples are not finite, the first is "
            f"{samples[0, first]} at {first / cut.sampling_rate:.3f} s"
        )
    return samples


def audio_reason(error: Exception, *where: Any) -> str:
    """Why audio cannot be used, on one line, from an exception of :func:`load_samples` or lhotse.

    lhotse's messages list the exceptions of all its backends, then advice to itself and the
    representation of every argument.
    """
    if isinstance(error, NonFiniteError):
        return str(error)
    message = str(error).split("\n[extra info]")[0].strip()
    diverged = re.search(r"declared samples.*diff=(-?\d+)", message, re.DOTALL)
    causes = re.findall(r"<class '(?:\w+\.)*(\w+)'>: ?(.*)", message)
    if diverged:
        missing = int(diverged.group(1))
        cause = f"{abs(missing)} samples {'fewer' if missing > 0 else 'more'} than declared"
    elif causes:  # of all backends; the operating system's answer says most
        name, text = next((c for c in causes if c[1].startswith("[Errno")), causes[0])
        cause = text or name
    else:
        cause = (message or type(error).__name__).splitlines()[0]
    cause = " ".join(cause.split())
    if len(cause) > LONGEST_CAUSE:
        cause = cause[: LONGEST_CAUSE - 3] + "..."
    return ": ".join(["unreadable audio", *map(str, where), cause])
