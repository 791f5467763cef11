"""Training loop: epochs, checkpoints, resume.

A resumed training equals an uninterrupted one, in the middle of an epoch too: batches and
augmentation are a function of (seed, epoch), and the generators of dropout are seeded per update.
(Exactly on a CPU; on a GPU the backward pass of CTC adds in any order.)
"""

import logging
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gmot.common import GmotError
from gmot.data.datamodule import Batch, Loader
from gmot.provenance import BOARD, SKIPPED
from gmot.training.config import TrainingConfig
from gmot.training.dev import evaluate
from gmot.training.distributed import Process
from gmot.training.ema import RunningAverage
from gmot.training.guards import Evidence
from gmot.training.labels import Labels
from gmot.training.loss import LossModule
from gmot.training.metrics import Reading, means
from gmot.training.optim import learning_rate
from gmot.training.progress import Board, Clock, epoch_line, grouped_by_update
from gmot.training.state import (
    Position,
    find_checkpoint,
    noted_changes,
    write_epoch,
    write_step,
)
from gmot.training.transfer_metrics import describe_progress, warn_unconverged
from gmot.training.update import Updater

INTERRUPTED = 75  # exit status of a training that was asked to stop and has saved its state


@dataclass(eq=False, repr=False)
class Trainer:
    """Training of one model by one of the processes."""

    module: LossModule  # on its device
    training: TrainingConfig
    config: dict[str, Any]  # recorded in each checkpoint
    labels: Labels
    train_loader: Loader
    dev_loader: Loader
    exp_dir: Path  # folder for checkpoints and tensorboard/
    process: Process = Process()

    def __post_init__(self) -> None:
        self.exp_dir.mkdir(parents=True, exist_ok=True)
        self.evidence = Evidence(self.exp_dir, self.process.rank)
        self.updater = Updater(self.module, self.training, self.process, self.evidence)
        self.ema = None
        if self.training.ema_decay and self.process.is_main:
            self.ema = RunningAverage(self.module.model, self.training.ema_decay)
        self.position = Position()
        self.sums: list[float] = []  # of the metrics of the unfinished epoch, over all processes
        self.dev_losses: dict[str, float] = {}  # per epoch
        self.warned = False  # of transport that does not converge
        self.stopped_by = ""  # signal
        self.board: Board | None = None

    def resume(self, source: str = "auto") -> list[str]:
        """Resume from a checkpoint; ``source`` as in :func:`find_checkpoint`.

        Returns:
          Changes of the configuration to be noted in the history.
        Raises:
          GmotError: made with another configuration, or trained for more epochs.
        """
        found = find_checkpoint(self.exp_dir, source)
        if found is None:
            return []
        path, state = found
        changes = noted_changes(path, state["config"], self.config)
        self.module.model.load_state_dict(state["model"])
        if self.module.objective is not None:
            self.module.objective.load_state_dict(state["transfer"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"] or state["model"])
        self.updater.load_state_dict(state)
        self.position = Position(**state["position"])
        self.sums, self.dev_losses = state["sums"], state["dev_losses"]
        position, num_epochs = self.position, self.training.num_epochs
        if position.epoch > num_epochs:
            raise GmotError(
                f"{path}: trained for more epochs than training.num_epochs {num_epochs}. Decode "
                f"with --epoch {num_epochs}, or use another --exp-dir."
            )
        if position.update and state["order"] != self.train_loader.order:
            logging.warning(
                "epoch %d begins anew: its batches differ from those before (%s)",
                *(position.epoch + 1, "; ".join(changes) or "another number of processes"),
            )
            position.update, self.sums = 0, []
        place = f" and {position.update} updates of the next" if position.update else ""
        logging.info("%s: resuming after epoch %d of %d%s", path, position.epoch, num_epochs, place)
        for change in changes:
            logging.warning("changed on resume: %s", change)
        return changes

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        objective = self.module.objective
        return {
            "model": self.module.model.state_dict(),
            "transfer": objective.state_dict() if objective is not None else {},
            "ema": self.ema.state_dict() if self.ema is not None else {},
            **self.updater.state_dict(),
            "config": self.config,
            "position": asdict(self.position),
            "order": self.train_loader.order,
            "sums": self.sums,
            "dev_losses": self.dev_losses,
        }

    def _save_epoch(self, dev: dict[str, float]) -> None:
        self.dev_losses[str(self.position.epoch)] = dev["loss"]
        if self.process.is_main:
            state = {**self.state_dict(), "dev": dev}
            config = self.training
            write_epoch(self.exp_dir, state, config.keep_last, config.keep_best)
        self.process.barrier()

    def _save_step(self) -> None:
        if self.process.is_main:
            write_step(self.exp_dir, self.state_dict())
        self.saved = time.monotonic()

    def train(self) -> None:
        """Train to ``num_epochs``.

        Raises:
          GmotError: too many updates in a row were skipped.
          SystemExit: with status 75, after SIGTERM or SIGINT; the state is saved.
        """
        if self.process.is_main:
            folder = self.exp_dir / BOARD
            self.board = Board(folder, self.position.step + 1, self.config)
        self.saved = time.monotonic()
        handlers = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            while self.position.epoch < self.training.num_epochs:
                self._train_epoch()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if self.board is not None:
                self.board.close()

    def _stop(self, number: int, _: Any) -> None:
        """Handler of a signal: stop after the current update; at once when repeated."""
        signal.signal(number, signal.default_int_handler)
        self.stopped_by = signal.Signals(number).name

    def _train_epoch(self) -> None:
        started, epoch = time.monotonic(), self.position.epoch + 1
        self.train_loader.set_epoch(epoch, self.position.update)
        self.module.train()
        self.clock = Clock()
        total = self.train_loader.num_updates
        title = f"epoch {epoch}/{self.training.num_epochs}"
        options = {"unit": "update", "leave": False, "initial": self.position.update}
        disable = None if self.process.is_main else True
        with tqdm(total=total, desc=title, disable=disable, **options) as bar:
            for batches in self.clock.waiting(grouped_by_update(self.train_loader)):
                self._update(batches, total)
                bar.update()
                if self._is_due(total):
                    self._read(bar)
        train = means(self.updater.metrics.names, self.sums)
        self.position.epoch, self.position.update, self.sums = epoch, 0, []
        self.warned = self.warned or warn_unconverged(epoch, train, self.module.config)
        dev, couplings = evaluate(self.module, self.dev_loader, self.labels.tokens, self.process)
        if self.board is not None:
            scores = {**dev, "epoch": epoch}
            self.board.write_epoch(scores, couplings, self.labels, self.position.step)
        self._save_epoch(dev)
        seconds = time.monotonic() - started
        logging.info("%s", epoch_line(epoch, self.training.num_epochs, train, dev, seconds))

    def _update(self, batches: list[Batch], total: int) -> None:
        config, position = self.training, self.position
        progress = (position.epoch + position.update / total) / config.num_epochs
        position.update += 1
        position.step += 1
        schedule = (config.base_lr, config.warmup_steps, config.schedule)
        self.rate = learning_rate(position.step, progress, *schedule)
        place = {"epoch": position.epoch + 1, "update": position.update, "step": position.step}
        self.updater(batches, place, self.rate)
        if self.ema is not None:
            self.ema.update(position.step)
        self.clock.speech += sum(sum(batch.durations) for batch in batches)

    def _is_due(self, total: int) -> bool:
        """Whether the metrics are to be read, which all processes do after the same updates."""
        config, position = self.training, self.position
        due = position.update == total or position.step % config.log_interval == 0
        if config.save_steps and position.step % config.save_steps == 0:
            due = True
        return due or bool(self.stopped_by and not self.process.is_distributed)

    def _read(self, bar: tqdm) -> None:
        """Read and write the metrics; then save or stop, if it is time to."""
        config, position, clock = self.training, self.position, self.clock
        elapsed = config.save_minutes and time.monotonic() - self.saved > 60 * config.save_minutes
        signals = (float(bool(self.stopped_by)), float(elapsed and self.process.is_main))
        reading = self.updater.metrics.read(self.process, [*clock.read(), *signals])
        stop, save = reading.host[-2:]
        self.sums = [a + b for a, b in zip(self.sums or [0.0] * len(reading.sums), reading.sums)]
        self._check_skipped(reading)
        if self.board is not None:
            place = (self.process.world_size, self.module.device, position.step)
            self.board.write_reading(reading, self.rate, *place)
        if reading.means:
            progress = means(self.updater.metrics.names, self.sums)
            bar.set_postfix_str(describe_progress(progress), refresh=False)
        within = position.update < self.train_loader.num_updates
        by_steps = config.save_steps and position.step % config.save_steps == 0
        if stop or (within and (save or by_steps)):
            self._save_step()
        if stop:
            self.process.barrier()
            logging.warning(
                "%s: stopped after epoch %d and %d updates; the same command resumes",
                *(self.stopped_by or "signal", position.epoch, position.update),
            )
            raise SystemExit(INTERRUPTED)

    def _check_skipped(self, reading: Reading) -> None:
        """Write the evidence of skipped updates; stop after too many in a row."""
        if not reading.skipped:
            self.evidence.clear()
            return
        cause, path = self.evidence.write(), self.exp_dir / SKIPPED
        step = self.position.step
        found = f"step {step}: {reading.skipped} of the last updates skipped ({cause}); {path}"
        if reading.skipped_in_a_row >= self.training.max_skipped:
            raise GmotError(
                f"{found} names the utterances. {reading.skipped_in_a_row} in a row: the training "
                "has diverged or its data is broken. Lower training.base_lr, or check these "
                "utterances and leave them out; the same command then goes on from the last "
                "checkpoint."
            )
        logging.warning("%s", found)
