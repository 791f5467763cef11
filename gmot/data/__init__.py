"""From corpora to batches; the only package that imports lhotse.

manifests.py reads corpora (kaldi.py, recipes.py; audio.py opens their files,
corpus_state.py tells whether they changed), features.py computes and stores filter banks
(archive.py), validate.py checks them, filters.py leaves out what CTC cannot
learn from, datamodule.py makes batches (augment.py: SpecAugment).
"""
