"""Audio files as lhotse's recordings, and one-line causes of lhotse's errors."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from gmot.common import PathLike

LONGEST_CAUSE = 200  # characters


class NonFiniteError(ValueError):
    """Samples or features that are NaN or infinite."""


def file_state(path: PathLike) -> tuple[int, ...]:
    """Size (bytes) and modification time (ns); empty for a missing file."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns


def describe_audio(key: str, path: Path) -> Any:
    """lhotse's Recording of a file, or the reason (a string) why there is none."""
    from lhotse import Recording

    path = path.absolute()
    if not path.is_file():
        return f"no such file: {path}"
    try:
        recording = Recording.from_file(path, recording_id=key)
    except Exception as error:  # lhotse's backends raise exceptions of many kinds
        return audio_reason(error, path)
    return recording if recording.num_samples else f"no samples in {path}"


def load_samples(cut: Any) -> np.ndarray:
    """Samples ``(1, n)`` of a lhotse cut, float32.

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
    """Reason why audio cannot be used, on one line."""
    if isinstance(error, NonFiniteError):
        return str(error)
    return ": ".join(["unreadable audio", *map(str, where), error_cause(error)])


def error_cause(error: Exception) -> str:
    """Cause of an exception of lhotse, on one line of at most :data:`LONGEST_CAUSE` characters.

    lhotse's messages list the exceptions of all its backends, advice, and the representation of
    every argument.
    """
    message = str(error).split("\n[extra info]")[0].strip()
    diverged = re.search(r"declared samples.*diff=(-?\d+)", message, re.DOTALL)
    causes = re.findall(r"<class '(?:\w+\.)*(\w+)'>: ?(.*)", message)
    if diverged:
        missing = int(diverged.group(1))
        cause = f"{abs(missing)} samples {'fewer' if missing > 0 else 'more'} than declared"
    elif causes:  # one per backend; the operating system's is the most informative
        name, text = next((c for c in causes if c[1].startswith("[Errno")), causes[0])
        cause = text or name
    else:
        cause = (message or type(error).__name__).splitlines()[0]
    cause = " ".join(cause.split())
    return cause if len(cause) <= LONGEST_CAUSE else cause[: LONGEST_CAUSE - 3] + "..."
