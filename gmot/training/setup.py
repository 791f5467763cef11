"""From the options of ``local/train.py`` to a running training."""

import argparse
import datetime
import json
import logging
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Sequence

import numpy as np
import torch
from torch import nn

from gmot.common import GmotError, fingerprint, setup_logging
from gmot.data.datamodule import AsrDataModule
from gmot.data.features import load_cmvn
from gmot.model.ctc_model import CtcModel, ModelConfig
from gmot.model.subsampling import output_length
from gmot.teacher import FeatureStore, TeacherTokenizer, teacher_size
from gmot.text.tokens import TokenTable
from gmot.training.checkpoint import start_from
from gmot.training.environment import choose_device
from gmot.training.history import add_run, describe_run
from gmot.training.trainer import Trainer, TrainingOptions
from gmot.transfer.systems import TransferSettings, get_system


def train(args: argparse.Namespace, free: Sequence[str]) -> None:
    """Train the system that ``args`` describes, or go on with it.

    Args:
      args: the options of ``local/train.py``.
      free: options that may differ from those of an interrupted training.
    Raises:
      GmotError: an input is missing or does not fit the others.
    """
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
    exp_dir = Path(args.exp_dir)
    setup_logging(log_file=exp_dir / "log" / f"log-train-{stamp}")
    trainer = make_trainer(args, free)
    run = describe_run(args)
    for name in ("command", "arguments", "environment"):
        logging.info("%s: %s", name, json.dumps(run[name], ensure_ascii=False))
    logging.info(
        "%s: %.2f M parameters, of them %.2f M in the adapter; %.2f M more are in the transfer "
        "and dropped at inference",
        args.system,
        *(_millions(part) for part in (trainer.model, trainer.model.adapter, trainer.objective)),
    )
    trainer.resume()
    if trainer.epoch < args.num_epochs:
        add_run(exp_dir, run, trainer.epoch + 1, trainer.config)
        trainer.train()
    logging.info("%s: trained to epoch %d", exp_dir, trainer.epoch)


def make_trainer(args: argparse.Namespace, free: Sequence[str]) -> Trainer:
    """Model, data and losses of what ``args`` describes, before its first step.

    Args:
      args, free: as of :func:`train`.
    Raises:
      GmotError: an input is missing or does not fit the others.
    """
    exp_dir = Path(args.exp_dir)
    settings = get_system(args.system)
    if args.final_sinkhorn is not None:
        settings = replace(settings, final_sinkhorn=args.final_sinkhorn)
    tokens = TokenTable.load(Path(args.lang_dir) / "tokens.txt")
    tokenizer = TeacherTokenizer(args.teacher)
    store = open_store(args, settings, tokenizer) if settings.learns_from_teacher else None
    mean, std = load_cmvn(args.fbank_dir, args.prefix)
    data = AsrDataModule.from_args(args)
    texts = [cut.supervisions[0].text for cut in data.cuts(args.train_part)]
    _check_tokens(texts, tokens, tokenizer, args)
    teacher_dim = store.dim if store else None
    if settings.transfer and store is None:  # an adapter that learns by CTC alone
        teacher_dim = teacher_size(args.teacher).dim
    shape = ModelConfig(
        vocab_size=len(tokens),
        num_features=len(mean),
        d_model=args.d_model,
        num_heads=args.num_heads,
        ffn_dim=args.ffn_dim,
        num_layers=args.num_layers,
        kernel_size=args.kernel_size,
        subsampling_channels=args.subsampling_channels,
        dropout=args.dropout,
        positions=args.positions,
        teacher_dim=teacher_dim,
        adapter_scale=settings.adapter_scale,
    )
    # What a resumed training must share with the one it goes on with.
    config: Dict[str, Any] = {
        "model": shape.to_dict(),
        "system": asdict(settings),
        "tokens": tokens.fingerprint,
        "tokenizer": tokenizer.fingerprint,
        "teacher": store.fingerprint if store else None,
        "teacher_layer": _layer(store, args.teacher) if store else None,
        # The mean and deviation of the features know them from any others.
        "data": fingerprint(mean.tolist(), std.tolist(), *texts),
        "options": {k: v for k, v in sorted(vars(args).items()) if k not in free},
    }
    if args.schedule == "cosine":  # it ends where the training does
        config["options"]["num_epochs"] = args.num_epochs

    device = choose_device(args.device, args.num_threads)
    # Gradients full of subnormal numbers make CPUs crawl. numpy measures the limits of its types
    # when they are first asked for, and warns where it finds no subnormals: it is asked before.
    np.finfo(np.float32), np.finfo(np.float64)
    torch.set_flush_denormal(True)
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    model = CtcModel(shape, cmvn=(mean, std))
    if args.init_from:
        its_tokens = args.init_lang_dir and TokenTable.load(Path(args.init_lang_dir) / "tokens.txt")
        path = exp_dir.parent / args.init_from
        config["started_from"] = start_from(model, path, tokens, its_tokens or None)
        logging.info("weights from %s", path)
    model.to(device)
    return Trainer(
        model,
        settings,
        TrainingOptions(
            num_epochs=args.num_epochs,
            base_lr=args.base_lr,
            warmup_steps=args.warmup_steps,
            schedule=args.schedule,
            weight_decay=args.weight_decay,
            clip_norm=args.clip_norm,
            keep_last=args.keep_last,
        ),
        config,
        tokens,
        tokenizer.tokenize,
        data.train_dataloader(
            args.train_part,
            output_length,
            lambda text: tokens.encode(tokenizer.tokenize(text)),
            report=exp_dir / "excluded.txt",
        ),
        data.eval_dataloader(args.dev_part),
        store,
        exp_dir,
    )


def _millions(module: Optional[nn.Module]) -> float:
    """Of parameters."""
    return 0.0 if module is None else sum(p.numel() for p in module.parameters()) / 1e6


def _layer(store: FeatureStore, teacher: str) -> Dict[str, int]:
    """The layer of the features, and of how many."""
    return {"number": store.layer, "of": store.num_layers or teacher_size(teacher).num_layers}


def open_store(
    args: argparse.Namespace, settings: TransferSettings, tokenizer: TeacherTokenizer
) -> FeatureStore:
    """The teacher's features of ``--teacher-store``.

    Raises:
      GmotError: not given, of another layer than ``--teacher-layer``, of another tokenizer
        than that of ``--teacher``, or of a trained teacher where the control is trained.
    """
    folder = args.teacher_store
    if not folder:
        raise GmotError("this system needs --teacher-store (made by stage 7).")
    store = FeatureStore.open(folder)
    if store.tokenizer is None:
        logging.warning(
            "%s: made by an earlier version, without its tokenizer's fingerprint: that it fits "
            "--teacher %s is not checked. Run stage 7 again to have it checked.",
            *(folder, args.teacher),
        )
    elif store.tokenizer != tokenizer.fingerprint:
        raise GmotError(
            f"{folder}: features of a teacher whose tokenizer is {store.tokenizer}, that of "
            f"--teacher {args.teacher} is {tokenizer.fingerprint}: labels and features would not "
            "belong together. Give the --teacher of stage 7, or run stages 4 and 7 with this one."
        )
    found = _layer(store, args.teacher)
    wanted = found["of"] if args.teacher_layer == "last" else args.teacher_layer
    if wanted not in (None, found["number"]):
        raise GmotError(
            f"{folder}: features of layer {found['number']} of {found['of']}, --teacher-layer "
            f"asks for {wanted}. Run stage 7 again with that layer, or give the store's."
        )
    if settings.random_teacher and not store.random_weights:
        raise GmotError(
            f"{folder}: features of a teacher that was trained, but system '{settings.name}' is "
            "the control, with random weights. Make its store by compute_teacher.py "
            "--random-weights."
        )
    return store


def _check_tokens(
    texts: Iterable[str],
    tokens: TokenTable,
    tokenizer: TeacherTokenizer,
    args: argparse.Namespace,
) -> None:
    """Raises GmotError if the tokens were not made from these texts by this teacher."""
    strange = {p for text in texts for p in tokenizer.tokenize(text)} - set(tokens.symbols)
    if strange:
        raise GmotError(
            f"{args.lang_dir}/tokens.txt lacks pieces of the training text: "
            f"{sorted(strange)[:5]}. Give the --teacher of stage 4, or run stage 4 again."
        )
