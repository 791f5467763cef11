"""The frozen language model as teacher and scorer; the only package that imports transformers."""

from gmot.common import require_extra

require_extra("recipe", "numpy", "tqdm", "transformers")

from gmot.teacher.encoder import Teacher
from gmot.teacher.loading import load_config
from gmot.teacher.masked_lm import MaskedLanguageModel
from gmot.teacher.store import FeatureStore, write_store
from gmot.teacher.tokenizer import TeacherTokenizer

__all__ = [
    "FeatureStore",
    "MaskedLanguageModel",
    "Teacher",
    "TeacherTokenizer",
    "load_config",
    "write_store",
]
