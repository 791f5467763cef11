"""From corpora to batches; the only package that imports lhotse.

manifests.py reads corpora (source.py: kaldi.py, table.py, recipes.py; split_lists.py, audio.py),
inspection.py examines them, features.py computes and stores filter banks (extraction.py, pitch.py,
archive.py), validate.py checks them, filters.py excludes utterances that CTC cannot align,
datamodule.py makes batches (sampling.py, augment.py).
"""

from gmot.common import require_extra

require_extra("recipe", "lhotse", "numpy", "soundfile", "tqdm")
