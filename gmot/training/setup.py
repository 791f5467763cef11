"""From the options of ``local/train.py`` to a running training."""

import argparse
import datetime
import json
import logging
import random
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gmot.common import GmotError, fingerprint, setup_logging
from gmot.data.datamodule import AsrDataModule
from gmot.data.features import load_cmvn
from gmot.model.config import ModelConfig
from gmot.model.ctc_model import CtcModel
from gmot.model.initial_weights import start_from
from gmot.model.subsampling import output_length
from gmot.provenance import add_run, choose_device, describe_run
from gmot.teacher import FeatureStore, TeacherTokenizer, load_config
from gmot.text.tokens import TokenTable
from gmot.text.units import Units, load_units
from gmot.training.config import TrainingConfig
from gmot.training.distributed import Process
from gmot.training.guards import dry_run, exclusive
from gmot.training.labels import Labels
from gmot.training.loss import LossModule
from gmot.training.old import Stores, add_old_labels, old_data, open_old_store
from gmot.training.trainer import Trainer


@dataclass
class Inputs:
    """Files that a training reads."""

    data: AsrDataModule
    cmvn: tuple[Tensor, Tensor]  # (mean, std) of the training features, each (F,)
    labels: Labels
    units: Units
    store: FeatureStore | None  # None: the training does without
    old_store: FeatureStore | None  # of the old corpus, where there is one
    corpus: str  # fingerprint of statistics and texts


def train(args: argparse.Namespace) -> None:
    """Train with the options of ``local/train.py``, or resume from a checkpoint.

    Raises:
      GmotError: an input is missing, does not fit the others or the checkpoint, or another training
        uses the folder.
      SystemExit: with status 75, when a signal has asked to stop.
    """
    process = Process.from_environment()
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
    exp_dir = Path(args.exp_dir)
    rank = f"-rank{process.rank}" if process.is_distributed else ""
    setup_logging(log_file=exp_dir / "log" / f"log-train-{stamp}{rank}")
    if not process.is_main:
        logging.getLogger().setLevel(logging.WARNING)
    name = process.device_name(args.device)
    device = prepare_process(name, args.num_threads, args.training.seed)
    process.connect(device)
    try:
        with exclusive(exp_dir) if process.is_main else nullcontext():
            _train(args, process, device)
    finally:
        process.disconnect()


def _train(args: argparse.Namespace, process: Process, device: torch.device) -> None:
    exp_dir = Path(args.exp_dir)
    trainer = make_trainer(args, read_inputs(args, process), device, process)
    run = describe_run(args)
    for name in ("command", "arguments", "environment"):
        logging.info("%s: %s", name, json.dumps(run[name], ensure_ascii=False))
    model, objective = trainer.module.model, trainer.module.objective
    logging.info(
        "%.2f M parameters, of them %.2f M in the adapter; %.2f M more in the transfer objective, "
        "dropped at inference",
        *(_millions(part) for part in (model, model.adapter, objective)),
    )
    changes = trainer.resume(args.resume)
    position = trainer.position
    if position.epoch < args.training.num_epochs:
        largest = trainer.train_loader.largest_batches()
        dry_run(trainer.updater, largest, args.data.max_duration)
        if process.is_main:
            run.update(first_update=position.update + 1, changes=changes)
            add_run(exp_dir, run, position.epoch + 1, trainer.config)
        trainer.train()
    logging.info("%s: trained to epoch %d", exp_dir, position.epoch)


def prepare_process(device: str, num_threads: int, seed: int) -> torch.device:
    """Threads, denormal numbers and random generators of a training process; its device."""
    found = choose_device(device, num_threads)
    # Denormal gradients slow CPUs down. numpy measures the limits of its types when first asked,
    # and warns where denormals are flushed: ask before.
    np.finfo(np.float32), np.finfo(np.float64)
    torch.set_flush_denormal(True)
    random.seed(seed)
    torch.manual_seed(seed)
    return found


def read_inputs(args: argparse.Namespace, process: Process | None = None) -> Inputs:
    """Read tokens, teacher's features and corpus of a training.

    Raises:
      GmotError: an input is missing or does not fit the others.
    """
    process = process or Process()
    tokens = TokenTable.load(Path(args.lang_dir) / "tokens.txt")
    teacher = partial(TeacherTokenizer, args.teacher) if args.teacher else None
    units = load_units(args.lang_dir, teacher)
    labels = Labels(tokens, units.tokenize)
    store = open_store(args, units) if args.transfer.learns_from_teacher else None
    mean, std = load_cmvn(args.fbank_dir, args.prefix)
    place = (process.rank, process.world_size)
    old = old_data(args)
    old_store = open_old_store(args, store) if old and store else None
    data = AsrDataModule(args.fbank_dir, args.prefix, args.data, args.training.seed, *place, old)
    labels.add(data.cuts(args.train_split).texts, args.lang_dir)
    cuts = data.train_cuts(args.train_split)
    if old:
        add_old_labels(labels, cuts, old, args.lang_dir)
    of_cuts = (cuts.texts.fingerprint, cuts.text_index.tobytes())
    corpus = fingerprint(mean.tolist(), std.tolist(), *of_cuts)
    return Inputs(data, (mean, std), labels, units, store, old_store, corpus)


def make_trainer(
    args: argparse.Namespace,
    inputs: Inputs,
    device: torch.device,
    process: Process | None = None,
) -> Trainer:
    """Model, optimizer and data before the first step.

    Initial values come from torch's global generator (:func:`prepare_process`).

    Raises:
      GmotError: nothing is left to train on, or ``--init-from`` does not fit.
    """
    exp_dir, labels, store = Path(args.exp_dir), inputs.labels, inputs.store
    shape = model_config(args, inputs)
    config = training_config(args, inputs, shape)
    model = CtcModel(shape, cmvn=inputs.cmvn)
    if args.init_from:
        path, folder = exp_dir.parent / args.init_from, args.init_lang_dir
        its_tokens = TokenTable.load(Path(folder) / "tokens.txt") if folder else None
        config["started_from"] = start_from(model, path, labels.tokens, its_tokens)
        logging.info("weights from %s", path)
    precision = choose_precision(args.training, device)
    if args.training.compile:
        compile_encoder(model)
    module = LossModule(model, args.transfer, precision).to(device)
    report = exp_dir / "excluded.txt"
    dev_teacher = teacher = store.rows if store is not None else None
    if store is not None and inputs.old_store is not None:
        teacher = Stores([store, inputs.old_store]).rows
    if store is not None and any(t not in store for t in inputs.data.cuts(args.dev_split).texts):
        logging.warning(
            "%s: no features of the texts of '%s': its transfer losses and couplings are left out. "
            "Run stage 7 again to have them.",
            *(store.path, args.dev_split),
        )
        dev_teacher = None
    return Trainer(
        module=module,
        training=args.training,
        config=config,
        labels=labels,
        train_loader=inputs.data.train_dataloader(
            args.train_split, output_length, labels, teacher, report
        ),
        dev_loader=inputs.data.eval_dataloader(args.dev_split, labels, dev_teacher),
        exp_dir=exp_dir,
        process=process or Process(),
    )


def choose_precision(config: TrainingConfig, device: torch.device) -> torch.dtype | None:
    """Type of autocast on a device, None: float32; sets the use of TF32.

    Raises:
      GmotError: the device does not have the precision.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
    on_gpu = device.type == "cuda"
    if config.precision == "fp16" and not on_gpu:
        raise GmotError("training.precision fp16: needs a GPU. Use bf16 or float32 on a CPU.")
    has_bf16 = on_gpu and torch.cuda.is_bf16_supported()
    if config.precision == "bf16" and on_gpu and not has_bf16:
        raise GmotError(f"training.precision bf16: {device} does not have it. Use fp16 or float32.")
    if config.precision == "bf16" and not on_gpu and torch.__version__.startswith("1."):
        raise GmotError("training.precision bf16: needs torch 2 on a CPU. Use float32.")
    if config.precision == "auto":
        return torch.bfloat16 if has_bf16 else None
    return {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]


def compile_encoder(model: CtcModel) -> None:
    """Compile the encoder in place.

    Raises:
      GmotError: torch 1 has no compiler.
    """
    if not hasattr(model.encoder, "compile"):
        raise GmotError(f"training.compile: needs torch 2.2 or newer, found {torch.__version__}.")
    model.encoder.compile(dynamic=True)


def model_config(args: argparse.Namespace, inputs: Inputs) -> ModelConfig:
    """``--model.*`` with what lang folder, features, teacher and transfer determine."""
    teacher_dim = inputs.store.dim if inputs.store else None
    if args.transfer.has_adapter and inputs.store is None:  # an adapter that learns by CTC alone
        if not args.teacher:
            raise GmotError("--teacher is missing: the adapter has the size of its features.")
        teacher_dim = load_config(args.teacher).hidden_size
    return replace(
        args.model,
        vocab_size=len(inputs.labels.tokens),
        num_features=len(inputs.cmvn[0]),
        teacher_dim=teacher_dim,
        adapter_scale=args.transfer.adapter_scale,
    )


def training_config(args: argparse.Namespace, inputs: Inputs, shape: ModelConfig) -> dict[str, Any]:
    """Configuration in checkpoints; a resumed training must match it (training/state.py)."""
    store = inputs.store
    return {
        "transfer": asdict(args.transfer),
        "model": asdict(shape),
        "training": asdict(args.training),
        "data": asdict(args.data),
        **{name: getattr(args, name) for name in ("prefix", "train_split", "dev_split")},
        **({"old": f"{args.old_prefix} {args.old_split}"} if args.old_fbank_dir else {}),
        "tokens": inputs.labels.tokens.fingerprint,
        "units": inputs.units.fingerprint,
        "teacher": store.fingerprint if store else None,
        "teacher_layer": _layer(store) if store else None,
        "corpus": inputs.corpus,
    }


def _millions(module: nn.Module | None) -> float:
    """Number of parameters in millions."""
    return 0.0 if module is None else sum(p.numel() for p in module.parameters()) / 1e6


def _layer(store: FeatureStore) -> dict[str, int]:
    """Layer of the features, and number of layers."""
    return {"number": store.layer, "of": store.num_layers}


def open_store(args: argparse.Namespace, units: Units) -> FeatureStore:
    """The teacher's features of ``--teacher-store``.

    Raises:
      GmotError: not given, of another layer than ``--teacher-layer``, of other tokens
        than those of ``--lang-dir``, or of a trained teacher where the control is trained.
    """
    folder, transfer = args.teacher_store, args.transfer
    if not folder:
        raise GmotError("--teacher-store is missing: this transfer learns from it (stage 7).")
    store = FeatureStore(folder)
    if store.units != units.fingerprint:
        raise GmotError(
            f"{folder}: features of the tokens {store.units}, those of --lang-dir {args.lang_dir} "
            f"are {units.fingerprint} ({units.kind}): labels and features would not belong "
            "together. Give the --lang-dir of stage 7, or run stage 7 again with this one."
        )
    found = _layer(store)
    wanted = found["of"] if args.teacher_layer == "last" else args.teacher_layer
    if wanted not in (None, found["number"]):
        raise GmotError(
            f"{folder}: features of layer {found['number']} of {found['of']}, --teacher-layer "
            f"asks for {wanted}. Run stage 7 again with that layer, or give the store's."
        )
    if transfer.random_teacher and not store.random_weights:
        raise GmotError(
            f"{folder}: features of a trained teacher, but transfer.random_teacher asks for one "
            "with random weights. Make its store by compute_teacher.py --random-weights."
        )
    return store
