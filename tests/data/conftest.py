"""Small corpora of real audio files."""

import numpy as np
import pytest
from audio import write_part


@pytest.fixture
def corpus(tmp_path):
    """Splits train (6 utterances of 0.5 to 1.5 s) and dev (3)."""
    folder = tmp_path / "corpus"
    write_part(folder / "train", np.linspace(0.5, 1.5, 6), prefix="t")
    write_part(folder / "dev", [0.7, 1.0, 0.5], prefix="d")
    return folder


@pytest.fixture
def fbank(corpus, tmp_path):
    """The fbank folder of ``corpus``, training split at three speeds."""
    from gmot.data.features import compute_fbank
    from gmot.data.manifests import prepare_manifests

    prepare_manifests(corpus, "toy", ["train", "dev"], tmp_path / "manifests")
    options = {"manifest_dir": tmp_path / "manifests", "fbank_dir": tmp_path / "fbank"}
    compute_fbank("toy", "train", speeds=(0.9, 1.1), write_cmvn=True, **options)
    compute_fbank("toy", "dev", **options)
    return tmp_path / "fbank"
