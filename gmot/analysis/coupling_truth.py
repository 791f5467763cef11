"""Couplings of trained models against word times, through training: the work of the command."""

import argparse
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from gmot.analysis.alignments import align_ctc
from gmot.analysis.couplings import check_teacher
from gmot.analysis.truth_measures import (
    Measured,
    Truth,
    diagonal_plan,
    mass_shares,
    measure_ctc_truth,
    measure_plan_truth,
    summarize,
    uniform_plan,
)
from gmot.analysis.word_times import Word, locate, read_ctm, words_of_tokens
from gmot.common import GmotError
from gmot.config import from_dict
from gmot.data.batch import Batch
from gmot.data.config import DataConfig
from gmot.data.cuts import Cut
from gmot.data.datamodule import AsrDataModule
from gmot.data.dataset import required_frames
from gmot.model.checkpoint import (
    epoch_path,
    epochs_in,
    load_for_decoding,
    read_checkpoint,
)
from gmot.model.subsampling import STRIDE, frame_centres, output_length
from gmot.teacher import Teacher, TeacherTokenizer
from gmot.text.tokens import TokenTable, check_tokens
from gmot.text.units import load_units
from gmot.transfer.config import TransferConfig
from gmot.transfer.objective import make_objective

EPSILON = 0.02  # seconds that the last word may exceed its utterance by (rounding)


class Utterance(NamedTuple):
    """Attributes:
    labels: S token ids.
    truth: its word times.
    """

    labels: list[int]
    truth: Truth


class Truths:
    """Utterances of a split that have usable word times.

    Attributes:
      found: id -> utterance.
      excluded: id -> reason.

    Raises:
      GmotError: an input is missing, or no utterance is left.
    """

    def __init__(self, args: argparse.Namespace):
        tokenizer = partial(TeacherTokenizer, args.teacher) if args.teacher else None
        self.lang_dir, self.units = args.lang_dir, load_units(args.lang_dir, tokenizer)
        self.tokens = TokenTable.load(Path(args.lang_dir) / "tokens.txt")
        config = DataConfig(args.max_duration)
        self.data, self.split = AsrDataModule(args.fbank_dir, args.prefix, config), args.split
        words, cuts = read_ctm(args.ctm), self.data.cuts(args.split)
        self.shift = cuts.source(0).frame_shift
        self.found: dict[str, Utterance] = {}
        self.excluded: dict[str, str] = {}
        for cut in cuts:
            made = self._make(cut, words.get(cut.id, []))
            if isinstance(made, str):
                self.excluded[cut.id] = made
            else:
                self.found[cut.id] = made
        for reason, count in Counter(self.excluded.values()).most_common():
            first = next(name for name, other in self.excluded.items() if other == reason)
            logging.warning("%d utterances excluded: %s; the first: %s", count, reason, first)
        if not self.found:
            raise GmotError(
                f"{args.ctm}: of the {len(cuts)} utterances of '{args.split}', none is usable: "
                f"{self.excluded[cuts[0].id]} ({cuts[0].id}). Give the word times of this split, "
                "with the words of its transcripts as they are in the manifest."
            )

    def _make(self, cut: Cut, words: Sequence[Word]) -> Utterance | str:
        """The utterance, or the reason why it is left out."""
        spans = locate(cut.text, words)
        if not words:
            return "no word times"
        if spans is None:
            return "its words are not those of the transcript"
        if words[-1].end > cut.duration + EPSILON:
            return "word times after its end"
        owners = words_of_tokens(self.units.spans(cut.text), spans)
        labels = self.tokens.encode(self.units.tokenize(cut.text))
        frames = output_length(cut.num_frames)
        if owners is None or len(owners) != len(labels):
            return "a token without word, or a word without token"
        if frames < required_frames(labels):
            return "too short for CTC"
        centres = frame_centres(frames, self.shift).numpy()
        return Utterance(labels, Truth(words, owners, centres, STRIDE * self.shift))

    def batches(self) -> Iterator[tuple[Batch, list[int]]]:
        """Batches of the split, and their usable rows."""
        texts = self.data.cuts(self.split).texts
        ids = {text: self.tokens.encode(self.units.tokenize(text)) for text in texts}
        for batch in self.data.eval_dataloader(self.split, ids.__getitem__):
            rows = [n for n, name in enumerate(batch.ids) if name in self.found]
            if rows:
                yield batch, rows

    def references(self) -> dict[str, dict[str, Any]]:
        """Measures of couplings that know nothing of the audio."""
        uniform: list[Measured] = []
        diagonal: list[Measured] = []
        for labels, truth in self.found.values():
            size = len(truth.centres), len(labels) + 2
            shares = mass_shares(uniform_plan(*size)[:, 1:-1], truth)
            uniform.append(Measured(shares, np.empty(0), np.empty(0)))
            diagonal.append(measure_plan_truth(diagonal_plan(*size), truth))
        return {"uniform": summarize(uniform), "diagonal": summarize(diagonal)}


class Teachers:
    """Teacher's features of texts, computed once per layer and text."""

    def __init__(self, folder: str | None, units: Any):
        self.folder, self.units = folder, units
        self._teachers: dict[tuple[int, bool], Teacher] = {}
        self._features: dict[tuple[str, str], torch.Tensor] = {}

    def of(self, exp_dir: str, config: dict[str, Any]) -> Teacher:
        """The teacher of a training.

        Raises:
          GmotError: another one than in training, or none given.
        """
        if not self.folder:
            raise GmotError(f"--teacher is missing: {exp_dir} was trained with one.")
        key = config["teacher_layer"]["number"], config["transfer"]["random_teacher"]
        if key not in self._teachers:
            self._teachers[key] = Teacher(self.folder, layer=key[0], random_weights=key[1])
        check_teacher(self._teachers[key], config, exp_dir)
        return self._teachers[key]

    def encode(self, teacher: Teacher, texts: Sequence[str]) -> list[torch.Tensor]:
        """Features (L, D) of each text."""
        keys = [(teacher.fingerprint, text) for text in texts]
        new = [text for key, text in zip(keys, texts) if key not in self._features]
        for text, rows in zip(new, teacher.encode(new, self.units)):
            self._features[teacher.fingerprint, text] = rows
        return [self._features[key] for key in keys]


def chosen_epochs(exp_dir: str, wanted: Sequence[int] | None) -> list[int]:
    """Epochs to measure; default: all that have a checkpoint.

    Raises:
      GmotError: none, or a wanted one is not there.
    """
    found = epochs_in(exp_dir)
    if not found:
        raise GmotError(f"{exp_dir}: no epoch-N.pt in it. Train first (stage 8).")
    absent = [n for n in wanted or [] if n not in found]
    if absent:
        raise GmotError(
            f"{exp_dir}: --epochs {absent} have no checkpoint, found {found}. A training keeps the "
            "last training.keep_last epochs and the training.keep_best of lowest dev loss: train "
            "with --training.keep_last as large as --training.num_epochs."
        )
    return sorted(set(wanted)) if wanted else found


@torch.no_grad()
def measure_epoch(
    exp_dir: str, epoch: int, truths: Truths, teachers: Teachers
) -> dict[str, dict[str, Any]]:
    """Measures of a model: ``ctc``, ``ctc_divided`` and, if it has a coupling, ``plan``.

    Raises:
      GmotError: the model was trained with other tokens, features or another teacher.
    """
    model, config = load_for_decoding(exp_dir, epoch)
    check_tokens(config["tokens"], truths.tokens, exp_dir, truths.lang_dir)
    settings = from_dict(TransferConfig, config["transfer"], "transfer.")
    objective = teacher = None
    if settings.learns_from_teacher:
        teacher = teachers.of(exp_dir, config)
        objective = make_objective(settings, model.config.vocab_size, teacher.dim).eval()
        objective.load_state_dict(read_checkpoint(epoch_path(exp_dir, epoch))["transfer"])
    measured: dict[str, list[Measured]] = {}
    for batch, rows in truths.batches():
        labels, label_lengths = batch.labels, batch.label_lengths
        assert labels is not None and label_lengths is not None
        layers = objective.layers(model.config.num_layers) if objective else ()
        output = model(batch.features[rows], batch.lengths[rows], layers=layers)
        plans = None
        if objective is not None and teacher is not None:
            features = teachers.encode(teacher, [batch.texts[row] for row in rows])
            sizes = torch.tensor([len(z) for z in features])
            z = pad_sequence(features, batch_first=True)
            tokens = labels[rows], label_lengths[rows]
            plans = objective(output.intermediate, output.lengths, z, sizes, *tokens).result.plan
        for n, row in enumerate(rows):
            ids, truth = truths.found[batch.ids[row]]
            frames = int(output.lengths[n])
            alignment = align_ctc(output.log_probs[n, :frames].numpy(), ids)
            found = measure_ctc_truth(alignment, truth)
            if plans is not None:
                plan = plans[n, :frames, : len(ids) + 2].double().numpy()
                found["plan"] = measure_plan_truth(plan, truth)
            for source, values in found.items():
                measured.setdefault(source, []).append(values)
    return {source: summarize(values) for source, values in measured.items()}


def coupling_truth(args: argparse.Namespace) -> dict[str, Any]:
    """Measures of all experiments and epochs.

    Returns:
      ``split``, ``ctm``, ``utterances``, ``excluded`` (id -> reason), ``references`` (uniform and
      diagonal plan) and ``systems``: name -> epoch -> source -> measures of :func:`summarize`.
    Raises:
      GmotError: an input is missing or does not fit the others.
    """
    epochs = {exp_dir: chosen_epochs(exp_dir, args.epochs) for exp_dir in args.exp_dirs}
    names = [Path(exp_dir).resolve().name for exp_dir in epochs]
    if len(set(names)) < len(names):
        raise GmotError(f"--exp-dirs: two of the name '{Counter(names).most_common(1)[0][0]}'.")
    truths = Truths(args)
    teachers = Teachers(args.teacher, truths.units)
    systems: dict[str, dict[int, Any]] = {}
    for name, (exp_dir, numbers) in zip(names, epochs.items()):
        systems[name] = {}
        for epoch in numbers:
            found = measure_epoch(exp_dir, epoch, truths, teachers)
            systems[name][epoch] = found
            facts = [f"{source} {describe(values)}" for source, values in found.items()]
            logging.info("%s, epoch %d: %s", name, epoch, "; ".join(facts))
    return {
        **{"split": args.split, "ctm": str(args.ctm), "utterances": len(truths.found)},
        "excluded": truths.excluded,
        "references": truths.references(),
        "systems": systems,
    }


def describe(values: dict[str, Any]) -> str:
    """Share and median error in a few words."""
    return f"{values.get('share', float('nan')):.3f}, {values['boundary_median_ms']:.0f} ms"
