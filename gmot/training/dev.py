"""Evaluation on the dev split between epochs."""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gmot.common import GmotError
from gmot.data.datamodule import Loader
from gmot.decode.ctc_search import ctc_greedy_search
from gmot.evaluation import scoring
from gmot.text.tokens import TokenTable
from gmot.text.units import detokenize
from gmot.training.distributed import Process
from gmot.training.loss import LossModule

NUM_COUPLINGS = 3
_TRANSFER = ("alignment", "transport")


@dataclass
class Coupling:
    """Plan of a dev utterance, on the CPU."""

    id: str
    text: str
    plan: Tensor  # (T', L)


@dataclass
class _Shard:
    """Sums over the utterances of one process."""

    refs: dict[str, str] = field(default_factory=dict)
    hyps: dict[str, str] = field(default_factory=dict)
    sums: Counter = field(default_factory=Counter)
    couplings: list[Coupling] = field(default_factory=list)


@torch.no_grad()
def evaluate(
    module: LossModule, loader: Loader, tokens: TokenTable, process: Process
) -> tuple[dict[str, float], list[Coupling]]:
    """Losses (means over utterances), greedy CER (%) and couplings of dev.

    The CTC loss, which all objectives share, decides which checkpoint is the best. Utterances too
    short for their text are left out of it (``impossible``: their share). Losses of the transfer
    and couplings (of the same utterances in each epoch) need the teacher's features of dev.

    Args:
      loader: batches of this process.
    Raises:
      GmotError: dev has no utterances.
    """
    module.eval()
    shard = _Shard()
    # First utterances of batches at a quarter, half and three quarters: of different durations.
    shown = Counter(len(loader) * n // (NUM_COUPLINGS + 1) for n in range(1, NUM_COUPLINGS + 1))
    for index, batch in enumerate(loader):
        if not len(batch):
            continue
        losses = module.losses(batch, with_transfer=batch.teacher is not None)
        ctc = losses.parts["ctc"]
        possible = torch.isfinite(ctc)
        shard.sums["utterances"] += len(batch)
        shard.sums["possible"] += int(possible.sum())
        shard.sums["loss"] += ctc[possible].double().sum().item()
        for name in _TRANSFER:
            if name in losses.parts:
                shard.sums[name] += losses.parts[name].double().sum().item()
        shard.refs.update(zip(batch.ids, batch.texts))
        lengths = losses.lengths.to(losses.log_probs.device)
        for name, ids in zip(batch.ids, ctc_greedy_search(losses.log_probs, lengths)):
            shard.hyps[name] = detokenize(tokens.decode(ids))
        if losses.transfer is not None and process.is_main:
            assert batch.teacher_lengths is not None
            for row in range(min(shown[index], len(batch))):
                size = (int(losses.lengths[row]), int(batch.teacher_lengths[row]))
                plan = losses.transfer.result.plan[row, : size[0], : size[1]].float().cpu()
                shard.couplings.append(Coupling(batch.ids[row], batch.texts[row], plan))
    return _scores(process.gather(shard)), shard.couplings


def _scores(shards: list[_Shard]) -> dict[str, float]:
    sums: Counter = sum((shard.sums for shard in shards), Counter())
    total, possible = sums["utterances"], sums["possible"]
    if not total:
        raise GmotError("the dev split has no utterances; see its manifest (stage 3).")
    scores = {"loss": sums["loss"] / possible if possible else float("inf")}
    if possible < total:
        scores["impossible"] = 1 - possible / total
    scores.update({name: sums[name] / total for name in _TRANSFER if name in sums})
    refs = {key: text for shard in shards for key, text in shard.refs.items()}
    hyps = {key: text for shard in shards for key, text in shard.hyps.items()}
    return {**scores, "cer": scoring.score(refs, hyps).rate}
