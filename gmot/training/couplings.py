"""The couplings that a trained system finds, for pictures and study."""

from typing import List, NamedTuple, Optional, Sequence, Union

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.data.datamodule import AsrDataModule
from gmot.teacher import Teacher
from gmot.training.checkpoint import load_for_decoding
from gmot.transfer.losses import transport_loss
from gmot.transfer.systems import TransferSettings


class Utterance(NamedTuple):
    """Attributes:
    id: of the utterance.
    pieces: its tokens, [CLS] and [SEP] included.
    h: (T, D) acoustic nodes, FC2's output.
    z: (L, D) the teacher's features.
    """

    id: str
    pieces: List[str]
    h: Tensor
    z: Tensor


class Coupling(NamedTuple):
    """Attributes:
    id: of the utterance.
    pieces: its tokens, [CLS] and [SEP] included.
    plan: (T, L), frames x tokens.
    node, edge: the two parts of the transport's value.
    """

    id: str
    pieces: List[str]
    plan: Tensor
    node: float
    edge: float


class TrainedTransport:
    """A trained system with its part of a corpus and its teacher.

    A system without transfer will not do: it has no FC2, nothing brings its frames into the
    teacher's space. (The coupling study of the GM-OT paper has an encoder trained with CTC; here
    the encoder has been trained with the transport that is looked at.)

    Args:
      exp_dir, epoch, avg: the model (:func:`load_for_decoding`).
      fbank_dir, prefix, part: the utterances.
      teacher, random_weights: as in stage 7.
      layer: of the teacher; None: that of the training.

    Raises:
      GmotError: the system has no transfer, or the teacher is another one than in training.
    """

    def __init__(
        self,
        exp_dir: PathLike,
        epoch: Optional[int],
        avg: int,
        fbank_dir: PathLike,
        prefix: str,
        part: str,
        teacher: str,
        layer: Union[int, str, None],
        random_weights: bool = False,
    ):
        self.model, self.config = load_for_decoding(exp_dir, epoch, avg)
        self.settings = TransferSettings(**self.config["system"])
        if not self.settings.learns_from_teacher or self.settings.objective != "transport":
            raise GmotError(f"{exp_dir}: system '{self.settings.name}' has no transport to draw.")
        if layer is None:  # earlier checkpoints did not record it
            layer = self.config.get("teacher_layer", {}).get("number", "last")
        self.teacher = Teacher(teacher, layer=layer, random_weights=random_weights)
        if self.teacher.fingerprint != self.config["teacher"]:
            raise GmotError(
                f"--teacher {teacher} (layer {self.teacher.layer}) is not the teacher {exp_dir} "
                "was trained with. Give the folder and layer of stage 7."
            )
        self.data, self.part = AsrDataModule(fbank_dir, prefix), part
        cuts = sorted(self.data.cuts(part), key=lambda cut: (cut.duration, cut.id))
        self.ids = [cut.id for cut in cuts]  # the shortest first

    def check_ids(self, ids: Sequence[str]) -> None:
        """Raises GmotError for what is not in the part."""
        missing = sorted(set(ids) - set(self.ids))
        if missing:
            raise GmotError(f"part '{self.part}' has no utterance {missing[:3]}. See its manifest.")

    @torch.no_grad()
    def utterances(self, ids: Sequence[str]) -> List[Utterance]:
        """The nodes of both graphs of some utterances, in this order.

        Raises:
          GmotError: an utterance is not in the part.
        """
        self.check_ids(ids)
        found = {}
        for batch in self.data.eval_dataloader(self.part):
            rows = [n for n, name in enumerate(batch.ids) if name in set(ids)]
            if not rows:
                continue
            output = self.model(batch.features[rows], batch.feature_lens[rows])
            features = self.teacher.encode([batch.texts[row] for row in rows])
            for n, row in enumerate(rows):
                name, frames = batch.ids[row], int(output.lens[n])
                pieces = ["[CLS]", *self.teacher.tokenize(batch.texts[row]), "[SEP]"]
                found[name] = Utterance(name, pieces, output.acoustic[n, :frames], features[n])
        return [found[name] for name in ids]


@torch.no_grad()
def couplings(trained: TrainedTransport, ids: Optional[Sequence[str]] = None) -> List[Coupling]:
    """Solve the transport of some utterances with the model and settings of a system.

    Args:
      trained: the system.
      ids: the utterances; None: the two longest.

    Raises:
      GmotError: an utterance is not in the part.
    """
    found = []
    for u in trained.utterances(ids or trained.ids[:-3:-1]):
        lens = torch.tensor([len(u.h)]), torch.tensor([len(u.z)])
        result = transport_loss(u.h[None], u.z[None], *lens, trained.settings).result
        found.append(
            Coupling(u.id, u.pieces, result.plan[0], float(result.node), float(result.edge))
        )
    return found
