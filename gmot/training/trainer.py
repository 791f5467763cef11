"""Training loop: epochs, loss, checkpoints, resume.

A resumed training equals an uninterrupted one: checkpoints hold the random generators, and the
order of an epoch is a function of (seed, epoch).
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from gmot.analysis.plots import draw_couplings
from gmot.common import GmotError
from gmot.data.datamodule import Batch, Loader
from gmot.decode.ctc_search import ctc_greedy_search
from gmot.evaluation import scoring
from gmot.model.checkpoint import BEST, epoch_path, epochs_in, read_checkpoint, save_checkpoint
from gmot.model.ctc_model import CtcModel, CtcOutput
from gmot.model.subsampling import output_length
from gmot.teacher import FeatureStore
from gmot.text.tokens import BLANK_ID, pieces_to_text
from gmot.training.config import TrainingConfig
from gmot.training.labels import Labels
from gmot.training.metrics import Averages, describe, open_board, write_scalars
from gmot.training.optim import learning_rate, make_optimizer
from gmot.training.state import check_resumable, random_state, restore_random_state
from gmot.training.transfer_metrics import describe_progress, loss_parts, warn_unconverged
from gmot.transfer.config import TransferConfig
from gmot.transfer.losses import TransferLoss, combine
from gmot.transfer.objective import make_objective


@dataclass(eq=False, repr=False)
class Trainer:
    """Training of one model.

    ``objective`` holds the modules of the transfer that inference does without (None: CTC alone).
    It is made here, trained with the model and kept apart from it.
    """

    model: CtcModel  # on its device
    transfer: TransferConfig
    training: TrainingConfig
    config: dict[str, Any]  # recorded in each checkpoint; a resumed training must match it
    labels: Labels
    train_loader: Loader
    dev_loader: Loader
    store: FeatureStore | None  # None: the objective does without
    exp_dir: Path  # folder for checkpoints and tensorboard/

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.objective = None
        self.parameters = list(self.model.parameters())
        shape = self.model.config
        if self.transfer.learns_from_teacher:
            assert shape.teacher_dim is not None
            self.objective = make_objective(self.transfer, shape.vocab_size, shape.teacher_dim)
            self.objective.to(self.device)
            self.parameters += self.objective.parameters()
        self.optimizer = make_optimizer(self.parameters, self.training.weight_decay)
        self.epoch = 0  # last finished
        self.step = 0  # updates done
        self.best_loss = float("inf")
        self.last_transfer: tuple[Batch, TransferLoss] | None = None
        self.warned = False  # of transport that does not converge

    def resume(self) -> None:
        """Resume from the last checkpoint in ``exp_dir``, if there is one.

        Raises:
          GmotError: made with another configuration, or trained for more epochs.
        """
        found = epochs_in(self.exp_dir)
        if not found:
            return
        path = epoch_path(self.exp_dir, found[-1])
        state = read_checkpoint(path)
        check_resumable(path, state["config"], self.config)
        self.model.load_state_dict(state["model"])
        if self.objective is not None:
            self.objective.load_state_dict(state["transfer"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_random_state(state["random"])
        self.epoch, self.step, self.best_loss = state["epoch"], state["step"], state["best_loss"]
        num_epochs = self.training.num_epochs
        if self.epoch > num_epochs:
            raise GmotError(
                f"{path}: trained for more epochs than training.num_epochs {num_epochs}. Decode "
                f"with --epoch {num_epochs}, or use another --exp-dir."
            )
        logging.info("resuming after epoch %d of %d", self.epoch, num_epochs)

    def _save(self, dev: dict[str, float]) -> None:
        best = dev["loss"] < self.best_loss
        self.best_loss = min(self.best_loss, dev["loss"])
        state = {
            "model": self.model.state_dict(),
            "transfer": self.objective.state_dict() if self.objective is not None else {},
            "optimizer": self.optimizer.state_dict(),
            "random": random_state(),
            "config": self.config,
            "epoch": self.epoch,
            "step": self.step,
            "best_loss": self.best_loss,
            "dev": dev,
        }
        if best:
            save_checkpoint(self.exp_dir / BEST, state)
        save_checkpoint(epoch_path(self.exp_dir, self.epoch), state)
        for old in epochs_in(self.exp_dir)[: -self.training.keep_last]:
            epoch_path(self.exp_dir, old).unlink()

    def _ctc(self, output: CtcOutput, labels: list[list[int]]) -> Tensor:
        """CTC loss per utterance, (N,)."""
        targets = torch.tensor([i for ids in labels for i in ids], device=self.device)
        lengths = torch.tensor([len(ids) for ids in labels]).to(self.device)
        x = output.log_probs.transpose(0, 1)
        return F.ctc_loss(x, targets, output.lengths, lengths, blank=BLANK_ID, reduction="none")

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float], TransferLoss | None]:
        """Loss to minimise: mean over utterances of lambda CTC + (1 - lambda) transfer (Eq. 18).

        Returns:
          The loss, its parts as numbers, and the transfer losses (None without transfer).
        """
        inputs = batch.features.to(self.device), batch.lengths.to(self.device)
        labels = [self.labels(text) for text in batch.texts]
        if self.objective is None or self.store is None:
            ctc = self._ctc(self.model(*inputs), labels)
            return ctc.mean(), {"ctc": ctc.mean().item()}, None
        layers = self.objective.layers(self.model.config.num_layers)
        output = self.model(*inputs, layers=layers)
        ctc = self._ctc(output, labels)
        features = [self.store.get(text) for text in batch.texts]
        transfer = self.objective(
            output.intermediate,
            output.lengths,
            pad_sequence(features, batch_first=True).to(self.device),
            torch.tensor([len(z) for z in features], device=self.device),
            labels,
        )
        loss = combine(ctc, transfer, self.transfer)
        return loss, loss_parts(ctc, transfer, self.transfer), transfer

    def train(self) -> None:
        """Train to ``num_epochs``."""
        # Steps of an unfinished epoch are written again.
        board = open_board(self.exp_dir / "tensorboard", self.step + 1)
        while self.epoch < self.training.num_epochs:
            started = time.time()
            train = self._train_epoch(self.epoch + 1, board)
            self.epoch += 1
            self.warned = self.warned or warn_unconverged(self.epoch, train, self.transfer)
            dev = self.evaluate()
            write_scalars(board, "dev", dev, self.step)
            self._draw(board)
            self._save(dev)
            logging.info(
                "epoch %d/%d: train %s; dev %s; lr %.2g; %.0f s",
                *(self.epoch, self.training.num_epochs, describe(train), describe(dev)),
                *(self.optimizer.param_groups[0]["lr"], time.time() - started),
            )
        board.close()

    def _train_epoch(self, epoch: int, board: Any) -> dict[str, float]:
        self.train_loader.set_epoch(epoch)
        self.model.train()
        averages = Averages()
        title = f"epoch {epoch}/{self.training.num_epochs}"
        total, seen = self.train_loader.num_utterances, 0
        with tqdm(total=total, desc=title, unit="utt", disable=None, leave=False) as bar:
            for batch in self.train_loader:
                progress = (epoch - 1 + seen / total) / self.training.num_epochs
                values = self._update(batch, progress)
                seen += len(batch)
                averages.add(values, len(batch))
                if self.step % 10 == 0:
                    write_scalars(board, "train", values, self.step)
                    bar.set_postfix_str(describe_progress(averages.means()), refresh=False)
                bar.update(len(batch))
        return averages.means()

    def _update(self, batch: Batch, progress: float) -> dict[str, float]:
        """One step of the optimizer."""
        config = self.training
        self.step += 1
        schedule = (config.base_lr, config.warmup_steps, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, progress, *schedule)
        loss, parts, transfer = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise GmotError(
                f"step {self.step}: loss {loss.item()}, gradient norm {norm.item()} with "
                f"utterances {batch.ids[:5]}. Lower training.base_lr or check these utterances."
            )
        self.optimizer.step()
        if transfer is not None:
            self.last_transfer = (batch, transfer)
        return {"loss": loss.item(), **parts, "gradient_norm": norm.item()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """CTC loss (mean over utterances) and greedy CER (%) on dev.

        The CTC loss, which all objectives share, decides which checkpoint is the best. Utterances
        too short for their text are left out of it (``impossible``: their share).
        """
        self.model.eval()
        averages = Averages()
        refs: dict[str, str] = {}
        hyps: dict[str, str] = {}
        for batch in self.dev_loader:
            output = self.model(batch.features.to(self.device), batch.lengths.to(self.device))
            loss = self._ctc(output, [self.labels(text) for text in batch.texts])
            possible = torch.isfinite(loss)
            averages.add({"impossible": (~possible).float().mean().item()}, len(batch))
            if possible.any():
                averages.add({"loss": loss[possible].mean().item()}, int(possible.sum()))
            refs.update(zip(batch.ids, batch.texts))
            for name, ids in zip(batch.ids, ctc_greedy_search(output.log_probs, output.lengths)):
                hyps[name] = pieces_to_text(self.labels.tokens.decode(ids))
        if not refs:
            raise GmotError("the dev split has no utterances; see its manifest (stage 3).")
        means = {"loss": float("inf"), **averages.means()}
        if means["impossible"] == 0:
            del means["impossible"]
        return {**means, "cer": scoring.score(refs, hyps).cer}

    def _draw(self, board: Any) -> None:
        """Write couplings of a few utterances of the epoch's last batch."""
        if self.last_transfer is None:
            return
        batch, transfer = self.last_transfer
        pieces = [["[CLS]", *self.labels.tokenize(text), "[SEP]"] for text in batch.texts[:3]]
        lengths = output_length(batch.lengths[:3]).tolist()
        figure = draw_couplings(list(transfer.result.plan[:3]), lengths, pieces)
        board.add_figure("couplings", figure, self.step)
