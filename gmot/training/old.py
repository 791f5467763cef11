"""Options and inputs of fine-tuning with old speech beside the new."""

import argparse
from collections.abc import Sequence

from torch import Tensor

from gmot.common import GmotError
from gmot.data.cuts import CutTable
from gmot.data.old_data import OldData
from gmot.teacher import FeatureStore
from gmot.training.labels import Labels


def old_data(args: argparse.Namespace) -> OldData | None:
    """The old corpus of the options; None without one.

    Raises:
      GmotError: an option is missing.
    """
    share = args.data.old_share
    if not args.old_fbank_dir:
        if share:
            raise GmotError(
                f"data.old_share {share:g}: needs --old-fbank-dir and --old-prefix, the old speech."
            )
        return None
    if not args.old_prefix:
        raise GmotError("--old-prefix is missing: the prefix of the cuts in --old-fbank-dir.")
    if not share:
        raise GmotError(
            "--old-fbank-dir: nothing of it would be used. Give --data.old_share, such as 0.2: old "
            "seconds per new second of speech in an epoch."
        )
    return OldData(args.old_fbank_dir, args.old_prefix, args.old_split)


def add_old_labels(labels: Labels, cuts: CutTable, old: OldData, lang_dir: str) -> None:
    """Tokenize the texts of both corpora; the new ones are known to be covered.

    Raises:
      GmotError: ``lang_dir`` lacks tokens of the old text.
    """
    try:
        labels.add(cuts.texts, lang_dir)
    except GmotError as error:
        raise GmotError(
            f"{old.fbank_dir}, split '{old.split}': {lang_dir}/tokens.txt lacks tokens of the old "
            "text. Make the lang folder of the new corpus with those of the old one: "
            f"prepare_lang.py --init-lang-dir OLD_LANG ({error})"
        ) from None


class Stores:
    """Teacher's features of the new and of the old text."""

    def __init__(self, stores: Sequence[FeatureStore]):
        self.stores = stores

    def rows(self, text: str) -> Tensor:
        """See :meth:`FeatureStore.rows`."""
        return next((s for s in self.stores if text in s), self.stores[-1]).rows(text)


def open_old_store(args: argparse.Namespace, store: FeatureStore) -> FeatureStore:
    """The teacher's features of the old text.

    Raises:
      GmotError: not given, or of another teacher, layer or tokens than those of the new text.
    """
    folder = args.old_teacher_store
    remedy = (
        "Compute it from the old manifests by the teacher and lang folder of this training: "
        "compute_teacher.py --manifest-dir OLD/manifests --prefix OLD --lang-dir NEW/lang ..."
    )
    if not folder:
        raise GmotError(f"--old-teacher-store is missing: this transfer learns from it. {remedy}")
    old = FeatureStore(folder)
    for name in ("fingerprint", "units"):
        ours, theirs = getattr(store, name), getattr(old, name)
        if ours != theirs:
            what = "teacher or layer" if name == "fingerprint" else "tokens"
            raise GmotError(
                f"{folder}: features of another {what} ({theirs}) than those of {store.path} "
                f"({ours}). {remedy}"
            )
    return old
