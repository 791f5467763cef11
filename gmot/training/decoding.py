"""From the options of ``local/decode.py`` to result files."""

import argparse
import logging
from pathlib import Path
from typing import Any, Dict, List

import torch

from gmot.common import GmotError, read_json
from gmot.data.datamodule import AsrDataModule
from gmot.decode.api import METHODS, Decoder, decode_part
from gmot.scoring import update_results, write_result_files
from gmot.text.tokens import TokenTable, WordTable
from gmot.training.checkpoint import load_for_decoding
from gmot.training.environment import choose_device, command, environment


def decode(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Decode and score parts with one system.

    Args:
      args: the options of ``local/decode.py``.
    Returns:
      The records put into ``results.json``.
    Raises:
      GmotError: an input is missing or does not fit the others.
    """
    exp_dir, lang_dir = Path(args.exp_dir), Path(args.lang_dir)
    if args.avg < 1:
        raise GmotError(f"--avg {args.avg}: expected 1 or more.")
    device = choose_device(args.device, args.num_threads)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    decoders = _decoders(args, tokens, device)
    model, config = load_for_decoding(exp_dir, args.epoch, args.avg, device)
    if config.get("tokens") != tokens.fingerprint:
        raise GmotError(
            f"{lang_dir}: not the tokens that {exp_dir} was trained with "
            f"({tokens.fingerprint}, trained with {config.get('tokens')}). "
            "Give the --lang-dir of the training."
        )
    data = AsrDataModule(
        args.fbank_dir, args.prefix, args.max_duration, num_workers=args.num_workers
    )
    for part in args.parts:
        width = data.cuts(part)[0].num_features
        if width != model.config.num_features:
            raise GmotError(
                f"{args.fbank_dir}: the features of '{part}' have {width} bins, the model of "
                f"{exp_dir} was trained with {model.config.num_features}. "
                "Give the --fbank-dir of the training."
            )
    common = {
        "epoch": config["epoch"],
        "avg": config["avg"],
        "system": config.get("system"),
        "seed": config.get("options", {}).get("seed"),
        "command": command(),
        "environment": environment(),
        "training": _training(exp_dir),
        "device": _describe(device),
    }
    suffix = f"epoch-{config['epoch']}-avg-{config['avg']}"
    records = []
    for part in args.parts:
        decoded = decode_part(
            model,
            data.eval_dataloader(part),
            decoders,
            device,
            num_utterances=data.num_utterances(part),
            description=part,
        )
        for decoder in decoders:
            method = decoder.method
            result = write_result_files(
                exp_dir / method, part, suffix, decoded.refs, decoded.hyps[method]
            )
            records.append(
                {
                    "part": part,
                    "method": method,
                    **common,
                    **result.record(),
                    "num_answered_by_greedy": decoded.num_empty[method],
                    "audio_seconds": round(decoded.audio_seconds, 2),
                    "rtf_encoder": decoded.encoder_seconds / decoded.audio_seconds,
                    "rtf_decoding": decoded.decoding_seconds[method] / decoded.audio_seconds,
                    "peak_memory_mb": round(decoded.peak_memory_mb, 1),
                    "beams": decoder.beams,
                    **({"hlg_scale": args.hlg_scale} if method == "1best" else {}),
                }
            )
            logging.info(
                "%s-%s: real-time factor %.4f (encoder) + %.4f (decoding), peak memory %.0f MB",
                part,
                method,
                records[-1]["rtf_encoder"],
                records[-1]["rtf_decoding"],
                decoded.peak_memory_mb,
            )
    update_results(exp_dir / "results.json", records)
    logging.info("%s: %d results", exp_dir / "results.json", len(records))
    return records


def _decoders(args: argparse.Namespace, tokens: TokenTable, device: Any) -> List[Decoder]:
    methods = list(dict.fromkeys(args.decoding_methods))
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise GmotError(f"--decoding-methods {unknown[0]}: not known, give {', '.join(METHODS)}.")
    words = WordTable.load(Path(args.lang_dir) / "words.txt") if "1best" in methods else None
    beams = {
        name: getattr(args, name)
        for name in ("search_beam", "output_beam", "min_active_states", "max_active_states")
    }
    return [
        Decoder(
            method,
            tokens,
            graph_dir=args.graph_dir,
            words=words,
            device=device,
            hlg_scale=args.hlg_scale,
            **(beams if method == "1best" else {}),
        )
        for method in methods
    ]


def _training(exp_dir: Path) -> Dict[str, Any]:
    """The command and the environment that trained the system, where it kept them."""
    if not (exp_dir / "config.json").exists():
        return {}
    record = read_json(exp_dir / "config.json")
    return {key: record.get(key) for key in ("command", "environment")}


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
