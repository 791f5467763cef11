"""From corpora to batches; the only package that imports lhotse.

manifests.py reads corpora, features.py computes and stores filter banks
(archive.py), validate.py checks them, filters.py leaves out what CTC cannot
learn from, datamodule.py makes batches (augment.py: SpecAugment).
"""
