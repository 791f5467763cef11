"""Decoding and scoring of splits with a trained model: the work of ``local/decode.py``."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gmot.common import GmotError, fingerprint
from gmot.data.config import DataConfig
from gmot.data.datamodule import AsrDataModule
from gmot.decode.api import Decoder
from gmot.decode.candidates import LmScales
from gmot.decode.methods import METHODS, graphs_needed, select_methods
from gmot.decode.split import DecodedSplit, decode_split, search_hlg_scale
from gmot.evaluation import files
from gmot.evaluation.bootstrap import Speakers, require_speakers
from gmot.evaluation.groups import group_utterances, read_groups
from gmot.evaluation.homophones import count_homophones, require_characters
from gmot.evaluation.scale_file import HLG, ScaleFile
from gmot.evaluation.scoring import score, score_groups
from gmot.model.checkpoint import load_for_decoding, load_weights
from gmot.provenance import choose_device, command, environment, runs_behind
from gmot.text.scoring_units import SCORING, Metric
from gmot.text.tokens import TokenTable, WordTable, check_tokens

Record = dict[str, Any]


def decode(args: argparse.Namespace) -> list[Record]:
    """Decode and score splits with one model.

    Returns:
      The records added to ``results.json``.
    Raises:
      GmotError: an input is missing or does not match the others.
    """
    metrics = [SCORING[name] for name in dict.fromkeys(args.scoring)]
    if args.homophones:
        require_characters(metrics)
    of_file = read_groups(args.groups) if args.groups else {}
    device = choose_device(args.device, args.num_threads)
    decoder = make_decoder(args, device)
    if args.checkpoint:
        model, config = load_weights(args.checkpoint, device)
    else:
        model, config = load_for_decoding(args.exp_dir, args.epoch, args.avg, device, args.average)
    check_tokens(config.get("tokens"), decoder.tokens, args.exp_dir, args.lang_dir)
    batches = DataConfig(args.max_duration, num_workers=args.num_workers)
    data = AsrDataModule(args.fbank_dir, args.prefix, batches)
    for split in args.splits:
        _check_features(data, split, model.config.num_features, args.exp_dir)
    speakers = {split: _speakers(data, split, args.unit) for split in args.splits}
    groups = group_utterances(of_file, speakers, args.groups) if of_file else {}
    common = _provenance(args, config, device)
    scale_split = decoder.config.scale_split
    with_hlg = decoder.graphs.hlg is not None
    utterances = _utterances(data, scale_split) if with_hlg else None
    file = ScaleFile(
        Path(args.exp_dir) / "scales.json", utterances, model, decoder, metrics[0].name
    )
    hlg_scale = _hlg_scale(args, model, data, decoder, device, file, metrics[0])
    # Methods whose LM scales are selected on the scale split, which is decoded first.
    rescoring = [m for m in decoder.methods if len(METHODS[m].lm_scales(hlg_scale)) > 1]
    lm_scales: dict[str, LmScales] | None = None
    records: list[Record] = []
    for split in sorted(dict.fromkeys(args.splits), key=lambda s: s != scale_split):
        if lm_scales is None and split != scale_split and rescoring:
            lm_scales = file.read(rescoring, hlg_scale)
        decoded = decode_split(
            *(model, data.eval_dataloader(split), decoder, device),
            *(len(data.cuts(split)), split, hlg_scale, lm_scales),
        )
        if split == scale_split and with_hlg:
            lm_scales = decoded.search_lm_scales(rescoring, hlg_scale, metrics[0])
            file.write(hlg_scale, lm_scales)
            _log_defaults(lm_scales, hlg_scale, split)
        for method in decoder.methods:
            default = METHODS[method].lm_scales(hlg_scale)[0]
            scales = (lm_scales or {}).get(method, default)
            record = {"split": args.split_prefix + split, "method": method, **common}
            uses_hlg = "HLG.pt" in METHODS[method].graphs
            record["scales"] = {"hlg": hlg_scale, **scales} if uses_hlg else {}
            record |= _search(decoder, decoded, method)
            hyps = decoded.hypotheses(method, scales, metrics[0])
            owners = (speakers[split], groups.get(split))
            records.append({**record, **_score(args, metrics, record, decoded, hyps, *owners)})
    path = Path(args.exp_dir) / "results.json"
    files.update_results(path, records)
    logging.info("%s: %d results", path, len(records))
    return records


def make_decoder(args: argparse.Namespace, device: torch.device) -> Decoder:
    """Decoder for the options.

    Raises:
      GmotError: as :class:`gmot.decode.api.Decoder`, or missing tables.
    """
    methods = select_methods(args.decoding.methods, masked_lm=bool(args.teacher))
    lang_dir = Path(args.lang_dir)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    with_words = set(graphs_needed(methods)) - {"H.pt"}
    words = WordTable.load(lang_dir / "words.txt") if with_words else None
    plm = None
    if args.teacher and any(METHODS[name].masked_lm for name in methods):
        from gmot.teacher import MaskedLanguageModel  # loading transformers takes seconds

        plm = MaskedLanguageModel(args.teacher, device)
    config = replace(args.decoding, methods=methods)
    return Decoder(config, tokens, args.graph_dir, words, device, plm)


def _check_features(data: AsrDataModule, split: str, expected: int, exp_dir: str) -> None:
    found = data.cuts(split)[0].num_features
    if found != expected:
        raise GmotError(
            f"{data.fbank_dir}: features of '{split}' have {found} bins, but the model of "
            f"{exp_dir} was trained with {expected}. Give the --fbank-dir of the training."
        )


def _speakers(data: AsrDataModule, split: str, unit: str) -> dict[str, str | None]:
    """Utterance -> speaker; GmotError if missing for resampling by speaker."""
    speakers = {cut.id: cut.speaker for cut in data.cuts(split)}
    if unit == "speaker":
        remedy = "Add utt2spk to the corpus and make the manifests again, or use --unit utterance."
        origin = f"split '{split}' of {data.fbank_dir}"
        require_speakers(list(speakers), speakers, origin, remedy)
    return speakers


def _utterances(data: AsrDataModule, split: str) -> str | None:
    """Fingerprint of the utterances and texts of a split; None if the split is missing."""
    try:
        cuts = data.cuts(split)
    except GmotError:
        return None
    return fingerprint(*(f"{cut.id} {cut.text}" for cut in cuts))


def _provenance(args: argparse.Namespace, config: Mapping[str, Any], device: Any) -> Record:
    """Fields common to all records."""
    cuda = device.type == "cuda"
    cpu = f"{device.type}, {torch.get_num_threads()} threads"
    return {
        **{name: config[name] for name in ("epoch", "avg", "average", "transfer", "teacher_layer")},
        "seed": config["training"]["seed"],
        "command": command(),
        "environment": environment(),
        "training": {"runs": runs_behind(args.exp_dir, config["epoch"])},
        "device": torch.cuda.get_device_name(device) if cuda else cpu,
    }


def _hlg_scale(
    args: argparse.Namespace,
    model: torch.nn.Module,
    data: AsrDataModule,
    decoder: Decoder,
    device: torch.device,
    file: ScaleFile,
    metric: Metric,
) -> float:
    """The given HLG scale, or the best of several on the scale split."""
    given, split = decoder.config.hlg_scale, decoder.config.scale_split
    if len(given) == 1 or decoder.graphs.hlg is None:
        return given[0]
    if split not in args.splits:
        return file.read([HLG], given[0])[HLG]["graph"]
    batches, number = data.eval_dataloader(split), len(data.cuts(split))
    return search_hlg_scale(model, batches, decoder, device, number, metric)


def _log_defaults(lm_scales: Mapping[str, LmScales], hlg_scale: float, split: str) -> None:
    for method, scales in lm_scales.items():
        if scales == METHODS[method].lm_scales(hlg_scale)[0]:
            logging.info(
                f"{method}: no LM scales with a significant gain on {split}; it keeps the LM "
                "scores in HLG and gives the results of 1best"
            )


def _score(
    args: argparse.Namespace,
    metrics: Sequence[Metric],
    record: Record,
    decoded: DecodedSplit,
    hyps: Mapping[str, str],
    speakers: Speakers,
    groups: Mapping[str, str] | None,
) -> Record:
    """Score hypotheses, log the scores and write recogs, errs and summary files."""
    split, method = record["split"], record["method"]
    costs = {
        "audio_seconds": round(decoded.audio_seconds, 2),
        "rtf_encoder": decoded.encoder_seconds / decoded.audio_seconds,
        "rtf_decoding": decoded.costs.seconds[method] / decoded.audio_seconds,
        "peak_memory_mb": round(decoded.peak_memory_mb, 1),
    }
    path = files.recogs_path(args.exp_dir, record)
    files.write_recogs(path, decoded.refs, hyps, speakers, groups)
    scores: dict[str, Record] = {}
    for metric in metrics:
        result = score(decoded.refs, hyps, speakers=speakers, metric=metric)
        of_group = score_groups(result, groups, speakers) if groups else {}
        numbers = result.record()
        homophones = None
        if args.homophones and metric.has_characters:
            homophones = count_homophones(result.alignments.values())
            numbers["homophone_sub"] = sum(homophones.values())
        if of_group:
            numbers["groups"] = {group: found.record() for group, found in of_group.items()}
        # As icefall's names for the primary metric.
        name = metric.name.lower()
        errs = "errs" if metric == metrics[0] else f"errs-{name}"
        files.write_errs(path.with_name(path.name.replace("recogs", errs, 1)), result, homophones)
        summary = path.with_name(path.name.replace("recogs", f"{name}-summary", 1))
        files.write_summary(summary, metric.name, {method: {**numbers, **costs}})
        logging.info("%s", result.line(f"{split}-{method}", args.unit))
        for group, found in of_group.items():
            logging.info("%s", found.line(f"{split}-{method}, {group}", args.unit))
        scores[metric.name] = numbers
    logging.info(
        "%s-%s: real-time factor %.5f (encoder) + %.5f (decoding), peak memory %.0f MB%s",
        *(split, method, costs["rtf_encoder"], costs["rtf_decoding"], costs["peak_memory_mb"]),
        "".join(f", {name} scale {value:g}" for name, value in record["scales"].items()),
    )
    return {"scores": scores, **costs}


def _search(decoder: Decoder, decoded: DecodedSplit, method: str) -> Record:
    """Graphs, parameters and counts of a method's search."""
    costs, needed = decoded.costs, METHODS[method]
    record: Record = {"num_answered_by_greedy": costs.no_path[method]}
    if "search_memory" in needed.parameters:
        record["num_beam_reduced"] = len(costs.reduced_states)
        record["least_max_active_states"] = min(costs.reduced_states, default=None)
    if method in costs.num_pruned:
        record["num_pruned"] = costs.num_pruned[method]
    graphs = {name: decoder.graphs.info[name] for name in needed.graphs}
    return {**record, "search": needed.settings(decoder.config), "graphs": graphs}
