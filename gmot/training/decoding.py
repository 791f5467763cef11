"""From the options of ``local/decode.py`` to result files."""

import argparse
import logging
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch

from gmot.bootstrap import require_speakers
from gmot.common import GmotError, fingerprint
from gmot.data.datamodule import AsrDataModule
from gmot.decode.api import Decoder
from gmot.decode.candidates import Weights
from gmot.decode.methods import STEPS, graphs_needed, weightings
from gmot.decode.part import PartResult, decode_part, search_hlg_scale
from gmot.result_files import update_results, write_result_files
from gmot.text.tokens import TokenTable, WordTable
from gmot.training.checkpoint import load_for_decoding
from gmot.training.environment import choose_device, command, environment
from gmot.training.history import runs_behind
from gmot.training.scale_file import HLG, ScaleFile


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
    needed = graphs_needed(args.decoding_methods)
    device = choose_device(args.device, args.num_threads)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    words = WordTable.load(lang_dir / "words.txt") if set(needed) - {"H.pt"} else None
    decoder = make_decoder(args, tokens, words, device)
    model, config = load_for_decoding(exp_dir, args.epoch, args.avg, device)
    if config.get("tokens") != tokens.fingerprint:
        raise GmotError(
            f"{lang_dir}: not the tokens that {exp_dir} was trained with "
            f"({tokens.fingerprint}, trained with {config.get('tokens')}). "
            "Give the --lang-dir of the training."
        )
    known_as = config.get("tokenizer")  # earlier checkpoints did not record it
    if decoder.plm is not None and known_as not in (None, decoder.plm.tokenizer.fingerprint):
        logging.warning(
            "plm-rescoring: the tokenizer of --teacher %s is not that of the training's teacher; "
            "hypotheses are scored as it splits them",
            args.teacher,
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
    speakers = {part: _speakers(data, part, args.unit) for part in args.parts}
    common = {
        "epoch": config["epoch"],
        "avg": config["avg"],
        "system": config.get("system"),
        "seed": config.get("options", {}).get("seed"),
        "command": command(),
        "environment": environment(),
        "teacher_layer": config.get("teacher_layer"),
        "training": {"runs": runs_behind(exp_dir, config["epoch"])},
        "device": _describe(device),
    }
    suffix = f"epoch-{config['epoch']}-avg-{config['avg']}"
    file = ScaleFile(
        exp_dir / "scales.json",
        args.scale_part,
        _utterances(data, args.scale_part) if decoder.graphs.hlg is not None else None,
        model,
        tokens,
        decoder,
        args.hlg_scale,
    )
    decoder.hlg_scale = _hlg_scale(args, model, data, decoder, device, file)
    weights: Optional[Dict[str, Weights]] = None
    records = []
    # The part on which scales are found goes first.
    for part in sorted(dict.fromkeys(args.parts), key=lambda p: p != args.scale_part):
        if weights is None and part != args.scale_part and _to_find(decoder):
            weights = file.read(_to_find(decoder))
        whole = "whole-lattice-rescoring"
        if whole in decoder.methods:
            decoder.whole_weightings = (
                weightings(whole, decoder.hlg_scale) if weights is None else [weights[whole]]
            )
        decoded = decode_part(
            model,
            data.eval_dataloader(part),
            decoder,
            device,
            num_utterances=data.num_utterances(part),
            description=part,
        )
        if part == args.scale_part and decoder.graphs.hlg is not None:
            weights = decoded.search_weights(_to_find(decoder), decoder.hlg_scale)
            file.write(decoder.hlg_scale, weights)
            for method in _to_find(decoder):
                if weights[method] == weightings(method, decoder.hlg_scale)[0]:
                    logging.info(
                        "%s: no weights gain more than chance on %s over HLG's own scores, which "
                        "are kept: it answers as 1best does",
                        method,
                        part,
                    )
        for method in decoder.methods:
            chosen = (weights or {}).get(method, weightings(method, decoder.hlg_scale)[0])
            hyps = decoded.hypotheses(method, chosen)
            costs = _costs(decoded, method)
            result = write_result_files(
                *(exp_dir / method, part, suffix, decoded.refs, hyps, costs),
                *(speakers[part], args.unit),
            )
            used = {"hlg": decoder.hlg_scale, **chosen} if "lattice" in STEPS[method] else {}
            records.append(
                {
                    "part": part,
                    "method": method,
                    **common,
                    **result.record(),
                    **costs,
                    "search": decoder.settings(method),
                    "graphs": {
                        name: decoder.graphs.described[name] for name in graphs_needed([method])
                    },
                    "scales": used,
                }
            )
            logging.info(
                "%s-%s: real-time factor %.5f (encoder) + %.5f (decoding), peak memory %.0f MB%s",
                part,
                method,
                records[-1]["rtf_encoder"],
                records[-1]["rtf_decoding"],
                decoded.peak_memory_mb,
                "".join(f", {name} scale {value:g}" for name, value in used.items()),
            )
    update_results(exp_dir / "results.json", records)
    logging.info("%s: %d results", exp_dir / "results.json", len(records))
    return records


def _speakers(data: AsrDataModule, part: str, unit: str) -> Dict[str, Optional[str]]:
    """Utterance -> speaker.

    Raises:
      GmotError: an utterance has none that the unit of resampling needs.
    """
    found = {cut.id: cut.supervisions[0].speaker for cut in data.cuts(part)}
    if unit == "speaker":
        remedy = (
            "Give the corpus an utt2spk and run from the manifests stage on, or use "
            "--unit utterance."
        )
        require_speakers(list(found), found, f"part '{part}' of {data.fbank_dir}", remedy)
    return found


def _utterances(data: AsrDataModule, part: str) -> Optional[str]:
    """Fingerprint of the utterances and texts of a part; None if it is not there."""
    try:
        cuts = data.cuts(part)
    except GmotError:
        return None
    return fingerprint(*(f"{cut.id} {cut.supervisions[0].text}" for cut in cuts))


def _to_find(decoder: Decoder) -> List[str]:
    """The methods that have weights to be found on dev."""
    return [m for m in decoder.methods if len(weightings(m, decoder.hlg_scale)) > 1]


def _costs(decoded: PartResult, method: str) -> Dict[str, Any]:
    counts = decoded.counts
    searched: Dict[str, Any] = {}
    if "lattice" in STEPS[method]:
        # Utterances searched with fewer active states than asked for, and the fewest of them.
        searched["num_narrowed"] = len(counts.narrowed)
        searched["least_max_active_states"] = min(counts.narrowed, default=None)
    if "thinned" in STEPS[method]:
        searched["num_thinned"] = counts.thinned
    return {
        "num_answered_by_greedy": counts.empty[method],
        **searched,
        "audio_seconds": round(decoded.audio_seconds, 2),
        "rtf_encoder": decoded.encoder_seconds / decoded.audio_seconds,
        "rtf_decoding": decoded.decoding_seconds[method] / decoded.audio_seconds,
        "peak_memory_mb": round(decoded.peak_memory_mb, 1),
    }


def make_decoder(
    args: argparse.Namespace,
    tokens: TokenTable,
    words: Optional[WordTable],
    device: torch.device,
) -> Decoder:
    """The decoder that the options describe.

    Raises:
      GmotError: as of :class:`gmot.decode.api.Decoder`; no masked language model.
    """
    plm = None
    if "plm-rescoring" in args.decoding_methods:
        if not args.teacher:
            raise GmotError("plm-rescoring: which language model? Give --teacher.")
        from gmot.teacher import MaskedLanguageModel  # transformers takes seconds to load

        plm = MaskedLanguageModel(args.teacher, device)
    return Decoder(
        args.decoding_methods,
        tokens,
        graph_dir=args.graph_dir,
        words=words,
        device=device,
        hlg_scale=args.hlg_scale[0],
        num_paths=args.num_paths,
        nbest_scale=args.nbest_scale,
        beam_size=args.beam_size,
        plm=plm,
        num_plm_paths=args.num_plm_paths,
        search_memory=args.search_memory,
        search_beam=args.search_beam,
        output_beam=args.output_beam,
        min_active_states=args.min_active_states,
        max_active_states=args.max_active_states,
    )


def _hlg_scale(
    args: argparse.Namespace,
    model: torch.nn.Module,
    data: AsrDataModule,
    decoder: Decoder,
    device: torch.device,
    file: "ScaleFile",
) -> float:
    """The one that is given, or of several the best on the part for scales."""
    if len(args.hlg_scale) == 1 or decoder.graphs.hlg is None:
        return args.hlg_scale[0]
    if args.scale_part not in args.parts:
        return file.read([HLG])[HLG]["graph"]
    return search_hlg_scale(
        model,
        data.eval_dataloader(args.scale_part),
        decoder,
        args.hlg_scale,
        device,
        num_utterances=data.num_utterances(args.scale_part),
    )


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
