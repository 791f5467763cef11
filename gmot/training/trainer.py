"""The training loop: epochs, loss, checkpoints, resume.

A resumed training ends where an uninterrupted one does: checkpoints hold the
random generators, and the order of an epoch is a function of (seed, epoch).
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from gmot import scoring
from gmot.common import GmotError
from gmot.data.datamodule import Batch, Loader
from gmot.decode.greedy import ctc_greedy_search
from gmot.model.ctc_model import CtcModel, CtcOutput
from gmot.model.subsampling import output_length
from gmot.plots import draw_couplings
from gmot.teacher import FeatureStore
from gmot.text.tokens import BLANK_ID, TokenTable, pieces_to_text
from gmot.training.checkpoint import (
    BEST,
    check_same_config,
    epoch_path,
    epochs_in,
    random_state,
    read_checkpoint,
    restore_random_state,
    save_checkpoint,
)
from gmot.training.metrics import Averages, TensorBoard, describe
from gmot.training.optim import learning_rate, make_optimizer
from gmot.training.transfer_metrics import ConvergenceMonitor, describe_progress, loss_parts
from gmot.transfer.losses import TransferLoss, combine
from gmot.transfer.objective import make_objective
from gmot.transfer.systems import TransferSettings


@dataclass(frozen=True)
class TrainingOptions:
    """How long and how fast; the settings of the loss are in the system."""

    num_epochs: int
    base_lr: float
    warmup_steps: int
    schedule: str
    weight_decay: float
    clip_norm: float
    keep_last: int

    def __post_init__(self) -> None:
        for name in ("num_epochs", "keep_last", "base_lr", "clip_norm"):
            value = getattr(self, name)
            lowest_is_allowed = name == "base_lr"
            if value < 0 or (value == 0 and not lowest_is_allowed):
                raise GmotError(f"--{name.replace('_', '-')} {value}: expected a positive number.")


class Trainer:
    """Trains one system.

    The modules of the transfer that inference does without are ``objective`` (None without
    transfer): they are made here, trained with the model and kept apart from it.

    Args:
      model: on its device.
      settings: the system (``gmot.transfer.systems``).
      options: of this training.
      config: everything that must be the same when a training is resumed; it
        is written into each checkpoint.
      tokens, tokenize: text -> pieces -> labels.
      train_loader, dev_loader: batches.
      store: the teacher's features; None for a system that learns by CTC alone.
      exp_dir: gets checkpoints, ``tensorboard/``.
    """

    def __init__(
        self,
        model: CtcModel,
        settings: TransferSettings,
        options: TrainingOptions,
        config: Dict[str, Any],
        tokens: TokenTable,
        tokenize: Callable[[str], List[str]],
        train_loader: Loader,
        dev_loader: Loader,
        store: Optional[FeatureStore],
        exp_dir: Path,
    ):
        self.model, self.settings, self.options, self.config = model, settings, options, config
        self.tokens, self.tokenize, self.store = tokens, tokenize, store
        self.train_loader, self.dev_loader = train_loader, dev_loader
        self.exp_dir = Path(exp_dir)
        self.device = next(model.parameters()).device
        self.objective = None
        self.parameters = list(model.parameters())
        if settings.learns_from_teacher:
            shape = model.config
            self.objective = make_objective(settings, shape.vocab_size, shape.teacher_dim)
            self.objective.to(self.device)
            self.parameters += self.objective.parameters()
        self.optimizer = make_optimizer(self.parameters, options.weight_decay)
        self._labels: Dict[str, List[int]] = {}
        self.epoch = 0  # last finished
        self.step = 0  # updates done
        self.best_loss = float("inf")
        self.last_transfer: Optional[Tuple[Batch, TransferLoss]] = None
        self.convergence = ConvergenceMonitor(settings)

    # ------------------------------------------------------------------ state

    def resume(self) -> None:
        """Go on from the last epoch in ``exp_dir``, if there is one.

        Raises:
          GmotError: it was made with another configuration.
        """
        found = epochs_in(self.exp_dir)
        if not found:
            return
        path = epoch_path(self.exp_dir, found[-1])
        state = read_checkpoint(path)
        check_same_config(path, state["config"], self.config)
        self.model.load_state_dict(state["model"])
        if self.objective is not None:
            self.objective.load_state_dict(state["transfer"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_random_state(state["random"])
        self.epoch, self.step, self.best_loss = state["epoch"], state["step"], state["best_loss"]
        if self.epoch > self.options.num_epochs:
            raise GmotError(
                f"{path}: trained longer than --num-epochs {self.options.num_epochs}. Decode with "
                f"--epoch {self.options.num_epochs}, or use another --exp-dir."
            )
        logging.info("resuming after epoch %d of %d", self.epoch, self.options.num_epochs)

    def _save(self, dev: Dict[str, float]) -> None:
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
        for old in epochs_in(self.exp_dir)[: -self.options.keep_last]:
            epoch_path(self.exp_dir, old).unlink()

    # ------------------------------------------------------------------- loss

    def _encode(self, texts: List[str]) -> List[List[int]]:
        """Labels of each text; a text is tokenized once in a training."""
        for text in texts:
            if text not in self._labels:
                self._labels[text] = self.tokens.encode(self.tokenize(text))
        return [self._labels[text] for text in texts]

    def _ctc(self, output: CtcOutput, labels: List[List[int]]) -> Tensor:
        """CTC loss of each utterance, (N,)."""
        lens = torch.tensor([len(ids) for ids in labels])
        return F.ctc_loss(
            output.log_probs.transpose(0, 1),
            torch.tensor([i for ids in labels for i in ids], device=self.device),
            output.lens,
            lens.to(self.device),
            blank=BLANK_ID,
            reduction="none",
        )

    def loss(self, batch: Batch) -> Tuple[Tensor, Dict[str, float], Optional[TransferLoss]]:
        """The loss to minimise: mean over utterances of lambda CTC + (1 - lambda) transfer.

        Returns:
          The loss, its parts as numbers, and the transport (None without transfer).
        """
        inputs = batch.features.to(self.device), batch.feature_lens.to(self.device)
        labels = self._encode(batch.texts)
        if self.objective is None:
            ctc = self._ctc(self.model(*inputs), labels)
            return ctc.mean(), {"ctc": ctc.mean().item()}, None
        output = self.model(*inputs, taps=self.objective.taps(self.model.config.num_layers))
        ctc = self._ctc(output, labels)
        features = [self.store.get(text) for text in batch.texts]
        transfer = self.objective(
            output.tapped,
            output.lens,
            pad_sequence(features, batch_first=True).to(self.device),
            torch.tensor([len(z) for z in features], device=self.device),
            labels,
        )
        loss = combine(ctc, transfer, self.settings)
        return loss, loss_parts(ctc, transfer, self.settings), transfer

    # ------------------------------------------------------------------ loops

    def train(self) -> None:
        """Train to ``num_epochs``."""
        # Steps of an epoch that was not finished are drawn anew.
        board = TensorBoard(self.exp_dir / "tensorboard", self.step + 1)
        while self.epoch < self.options.num_epochs:
            started = time.time()
            train = self._train_epoch(self.epoch + 1, board)
            self.epoch += 1
            self.convergence.check(self.epoch, train)
            dev = self.evaluate()
            board.scalars("dev", dev, self.step)
            self._draw(board)
            self._save(dev)
            logging.info(
                "epoch %d/%d: train %s; dev %s; lr %.2g; %.0f s",
                self.epoch,
                self.options.num_epochs,
                describe(train),
                describe(dev),
                self.optimizer.param_groups[0]["lr"],
                time.time() - started,
            )
        board.close()

    def _train_epoch(self, epoch: int, board: TensorBoard) -> Dict[str, float]:
        self.train_loader.set_epoch(epoch)
        self.model.train()
        averages = Averages()
        title = f"epoch {epoch}/{self.options.num_epochs}"
        total, seen = self.train_loader.num_utterances, 0
        with tqdm(total=total, desc=title, unit="utt", disable=None, leave=False) as bar:
            for batch in self.train_loader:
                progress = (epoch - 1 + seen / total) / self.options.num_epochs
                values = self._update(batch, progress)
                seen += len(batch)
                averages.add(values, len(batch))
                if self.step % 10 == 0:
                    board.scalars("train", values, self.step)
                    bar.set_postfix_str(describe_progress(averages.means()), refresh=False)
                bar.update(len(batch))
        return averages.means()

    def _update(self, batch: Batch, progress: float) -> Dict[str, float]:
        """One step of the optimizer."""
        options = self.options
        self.step += 1
        rate = learning_rate(
            self.step, progress, options.base_lr, options.warmup_steps, options.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, parts, transfer = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, options.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise GmotError(
                f"step {self.step}: loss {loss.item()}, gradient norm {norm.item()} with "
                f"utterances {batch.ids[:5]}. Lower --base-lr or look at those utterances."
            )
        self.optimizer.step()
        if transfer is not None:
            self.last_transfer = (batch, transfer)
        return {"loss": loss.item(), **parts, "gradient_norm": norm.item()}

    @torch.no_grad()
    def evaluate(self) -> Dict[str, float]:
        """CTC loss (mean over utterances) and greedy CER (%) on dev.

        The CTC loss alone decides what is best: it is what all systems share. It
        leaves out utterances too short for their text (``impossible``).
        """
        self.model.eval()
        averages = Averages()
        refs: Dict[str, str] = {}
        hyps: Dict[str, str] = {}
        for batch in self.dev_loader:
            output = self.model(batch.features.to(self.device), batch.feature_lens.to(self.device))
            loss = self._ctc(output, self._encode(batch.texts))
            possible = torch.isfinite(loss)
            averages.add({"impossible": (~possible).float().mean().item()}, len(batch))
            if possible.any():
                averages.add({"loss": loss[possible].mean().item()}, int(possible.sum()))
            for name, text, ids in zip(
                batch.ids, batch.texts, ctc_greedy_search(output.log_probs, output.lens)
            ):
                refs[name] = text
                hyps[name] = pieces_to_text(self.tokens.decode(ids))
        if not refs:
            raise GmotError("the dev part has no utterance; see its manifest (stage 3).")
        means = {"loss": float("inf"), **averages.means()}
        if means["impossible"] == 0:
            del means["impossible"]
        return {**means, "cer": scoring.score(refs, hyps).cer}

    def _draw(self, board: TensorBoard) -> None:
        """Couplings of a few utterances of the epoch's last batch."""
        if self.last_transfer is None:
            return
        batch, transfer = self.last_transfer
        pieces = [["[CLS]", *self.tokenize(text), "[SEP]"] for text in batch.texts[:3]]
        lens = output_length(batch.feature_lens[:3]).tolist()
        board.figure("couplings", draw_couplings(transfer.result.plan[:3], lens, pieces), self.step)
