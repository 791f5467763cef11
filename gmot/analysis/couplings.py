"""Couplings of a trained model."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.config import from_dict
from gmot.data.datamodule import AsrDataModule
from gmot.model.checkpoint import load_for_decoding
from gmot.teacher import Teacher
from gmot.text.units import load_units
from gmot.transfer.config import TransferConfig
from gmot.transfer.losses import transport_loss


class Utterance(NamedTuple):
    """Attributes:
    pieces: tokens, [CLS] and [SEP] included.
    h: (T, D), acoustic nodes (FC2).
    z: (L, D), teacher features.
    """

    id: str
    pieces: list[str]
    h: Tensor
    z: Tensor


class Coupling(NamedTuple):
    """Attributes:
    pieces: tokens, [CLS] and [SEP] included.
    plan: (T, L), frames x tokens.
    node, edge: node and edge terms of the transport cost.
    """

    id: str
    pieces: list[str]
    plan: Tensor
    node: float
    edge: float


class TrainedTransport:
    """Trained model with a split of a corpus and its teacher.

    The model needs an adapter trained with transport: FC2 maps its frames into the teacher's
    space. (In the GM-OT paper's coupling study the encoder was trained with CTC alone.)

    Args:
      args: options of ``local/plot_coupling.py``.

    Raises:
      GmotError: no transport in training, or another teacher or lang folder than in training.
    """

    def __init__(self, args: argparse.Namespace):
        self.model, self.config = load_for_decoding(args.exp_dir, args.epoch, args.avg)
        self.settings = from_dict(TransferConfig, self.config["transfer"], "transfer.")
        if not self.settings.learns_from_teacher or self.settings.objective != "transport":
            raise GmotError(f"{args.exp_dir}: trained without transport, there is nothing to draw.")
        self.name = Path(args.exp_dir).name
        layer = args.teacher_layer
        if layer is None:
            layer = self.config["teacher_layer"]["number"]
        self.teacher = Teacher(args.teacher, layer=layer, random_weights=args.random_weights)
        check_teacher(self.teacher, self.config, args.exp_dir)
        self.units = load_units(args.lang_dir, lambda: self.teacher.tokenizer)
        self.data, self.split = AsrDataModule(args.fbank_dir, args.prefix), args.split
        cuts = sorted(self.data.cuts(self.split), key=lambda cut: (cut.duration, cut.id))
        self.ids = [cut.id for cut in cuts]  # shortest first

    def check_ids(self, ids: Sequence[str]) -> None:
        """Raises GmotError for ids that are not in the split."""
        missing = sorted(set(ids) - set(self.ids))
        if missing:
            raise GmotError(
                f"split '{self.split}' has no utterance {missing[:3]}. See its manifest."
            )

    @torch.no_grad()
    def utterances(self, ids: Sequence[str]) -> list[Utterance]:
        """Nodes of both graphs, in the order of ``ids``; GmotError for ids not in the split."""
        self.check_ids(ids)
        found = {}
        for batch in self.data.eval_dataloader(self.split):
            rows = [n for n, name in enumerate(batch.ids) if name in set(ids)]
            if not rows:
                continue
            output = self.model(batch.features[rows], batch.lengths[rows])
            features = self.teacher.encode([batch.texts[row] for row in rows], self.units)
            for n, row in enumerate(rows):
                name, frames = batch.ids[row], int(output.lengths[n])
                pieces = ["[CLS]", *self.units.tokenize(batch.texts[row]), "[SEP]"]
                found[name] = Utterance(name, pieces, output.acoustic[n, :frames], features[n])
        return [found[name] for name in ids]


def check_teacher(teacher: Teacher, config: Mapping[str, Any], exp_dir: PathLike) -> None:
    """Raises GmotError if a model was trained with another teacher."""
    if teacher.fingerprint != config["teacher"]:
        raise GmotError(
            f"--teacher {teacher.source} (layer {teacher.layer}) is not the teacher {exp_dir} was "
            "trained with. Give the folder and layer of stage 7."
        )


@torch.no_grad()
def couplings(trained: TrainedTransport, ids: Sequence[str] | None = None) -> list[Coupling]:
    """Couplings of utterances (default: the two longest) with the transport settings of training.

    Raises:
      GmotError: an utterance is not in the split.
    """
    found = []
    for u in trained.utterances(ids or trained.ids[:-3:-1]):
        lengths = torch.tensor([len(u.h)]), torch.tensor([len(u.z)])
        result = transport_loss(u.h[None], u.z[None], *lengths, trained.settings).result
        terms = float(result.node), float(result.edge)
        found.append(Coupling(u.id, u.pieces, result.plan[0], *terms))
    return found
