"""The couplings that a trained system finds, for pictures and study."""

from typing import List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.data.datamodule import AsrDataModule
from gmot.teacher import Teacher
from gmot.training.checkpoint import load_for_decoding
from gmot.transfer.losses import transport_loss
from gmot.transfer.systems import TransferSettings


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


@torch.no_grad()
def couplings(
    exp_dir: PathLike,
    epoch: Optional[int],
    avg: int,
    fbank_dir: PathLike,
    prefix: str,
    part: str,
    ids: Optional[Sequence[str]],
    teacher: str,
    layer: Optional[int],
    random_weights: bool = False,
) -> List[Coupling]:
    """Solve the transport of some utterances with the model and settings of ``exp_dir``.

    Args:
      exp_dir, epoch, avg: the model (:func:`load_for_decoding`).
      fbank_dir, prefix, part: the utterances.
      ids: which of them; None: the two longest.
      teacher, layer, random_weights: as in stage 7.

    Raises:
      GmotError: the system has no transfer, the teacher is another one than in
        training, or an utterance is not in the part.
    """
    model, config = load_for_decoding(exp_dir, epoch, avg)
    settings = TransferSettings(**config["system"])
    if not settings.transfer:
        raise GmotError(f"{exp_dir}: system '{settings.name}' has no transport to draw.")
    language_model = Teacher(teacher, layer=layer, random_weights=random_weights)
    if language_model.fingerprint != config["teacher"]:
        raise GmotError(
            f"--teacher {teacher} (layer {layer}) is not the teacher {exp_dir} was trained with. "
            "Give the folder and layer of stage 7."
        )
    data = AsrDataModule(fbank_dir, prefix)
    longest = sorted(data.cuts(part), key=lambda cut: -cut.duration)[:2]
    wanted = set(ids or [cut.id for cut in longest])
    found = []
    for batch in data.eval_dataloader(part):
        rows = [n for n, name in enumerate(batch.ids) if name in wanted]
        if not rows:
            continue
        output = model(batch.features[rows], batch.feature_lens[rows])
        for n, row in enumerate(rows):
            text, frames = batch.texts[row], int(output.lens[n])
            z = language_model.encode([text])[0]
            result = transport_loss(
                output.acoustic[n : n + 1, :frames],
                z[None],
                output.lens[n : n + 1],
                torch.tensor([len(z)]),
                settings,
            ).result
            pieces = ["[CLS]", *language_model.tokenize(text), "[SEP]"]
            found.append(
                Coupling(
                    batch.ids[row], pieces, result.plan[0], float(result.node), float(result.edge)
                )
            )
    missing = sorted(wanted - {c.id for c in found})
    if missing:
        raise GmotError(f"part '{part}' has no utterance {missing[:3]}. See its manifest.")
    return found
