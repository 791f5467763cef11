"""A split in Shar format has the batches of the same split with archives of features."""

import tarfile

import lhotse
import numpy as np
import pytest
import torch

from gmot.common import GmotError
from gmot.data.config import DataConfig
from gmot.data.datamodule import AsrDataModule
from gmot.data.features import load_cuts


@pytest.fixture
def shar(fbank):
    """The training split of ``fbank`` as a Shar folder of another fbank folder."""
    folder = fbank.parent / "other"
    (folder / "toy_shar_train").mkdir(parents=True)
    cuts = lhotse.CutSet.from_cuts(load_cuts(fbank, "toy", "train"))
    fields = {"features": "numpy"}
    cuts.to_shar(folder / "toy_shar_train", fields, shard_size=5)
    return folder


def batches(folder, first_update=0, **options):
    data = AsrDataModule(folder, "toy", DataConfig(max_duration=4.0, **options), seed=1)
    loader = data.train_dataloader("train")
    loader.set_epoch(2, first_update)
    return loader, list(loader)


def same(a, b):
    assert len(a) == len(b)
    return all(x.ids == y.ids and torch.equal(x.features, y.features) for x, y in zip(a, b))


def test_the_same_batches_as_with_archives(fbank, shar):
    loader, expected = batches(fbank)
    other, found = batches(shar)
    assert same(found, expected) and other.order == loader.order
    assert same(batches(shar, first_update=2)[1], expected[2:])
    assert [cut.speaker for cut in other.dataset.cuts] == [c.speaker for c in loader.dataset.cuts]


@pytest.mark.integration  # loading processes
def test_the_same_batches_in_workers(fbank, shar):
    assert same(batches(shar, num_workers=2)[1], batches(fbank)[1])


def test_archives_are_scanned_once(shar, monkeypatch):
    expected = batches(shar)[1]
    assert (shar / "toy_shar_train.json").is_file()
    # lhotse still reads the folder.
    assert len(list(lhotse.CutSet.from_shar(in_dir=shar / "toy_shar_train"))) == 18

    def fail(*_):
        raise AssertionError("scanned again")

    monkeypatch.setattr(tarfile, "open", fail)
    assert same(batches(shar)[1], expected)
    monkeypatch.undo()
    path = shar / "toy_shar_train" / "features.000001.tar"
    path.write_bytes(path.read_bytes()[:3000])  # replaced: scanned again
    with pytest.raises(GmotError, match="features.000001.tar|cuts.000001"):
        batches(shar)


def test_lossy_matrices_are_read_too(fbank):
    pytest.importorskip("lilcom")
    cuts = lhotse.CutSet.from_cuts(load_cuts(fbank, "toy", "train"))
    folder = fbank.parent / "other"
    (folder / "toy_shar_train").mkdir(parents=True)
    cuts.to_shar(folder / "toy_shar_train", {"features": "lilcom"}, shard_size=5)
    for x, y in zip(batches(folder)[1], batches(fbank)[1]):
        assert x.ids == y.ids and np.allclose(x.features, y.features, atol=0.1)


def test_incomplete_folders_are_errors(shar):
    folder = shar / "toy_shar_train"
    one, two = folder / "features.000001.tar", folder / "features.000002.tar"
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    with pytest.raises(GmotError, match="cuts.000001.*line 1.*features.000001.tar"):
        batches(shar)
    one.write_bytes(b"no archive" * 1000)
    with pytest.raises(GmotError, match="features.000001.tar"):
        batches(shar)
    one.unlink()
    with pytest.raises(GmotError, match="toy_shar_train.*4 files of cuts and 3 of features"):
        batches(shar)
    one.write_bytes(content)
    assert batches(shar)


def test_a_vanished_archive_is_an_error_that_names_the_utterance(shar):
    data = AsrDataModule(shar, "toy", DataConfig(max_duration=4.0))
    loader = data.train_dataloader("train")
    for path in (shar / "toy_shar_train").glob("*.tar"):
        path.unlink()
    with pytest.raises(GmotError, match="'t00.*features.00000..tar"):
        list(loader)
