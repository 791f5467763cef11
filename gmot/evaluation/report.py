"""Tables of measured results, and RESULTS.md, from results.json files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gmot.common import GmotError, PathLike, atomic_path
from gmot.config import load_yaml
from gmot.evaluation.files import Record, metrics_and_groups, primary, read_results
from gmot.evaluation.seeds import pool_seeds, spread_lines, unique
from gmot.evaluation.tables import interval_lines, markdown_table, results_tables, speed_table
from gmot.provenance import training_runs
from gmot.text.scoring_units import METRICS


def summarize(
    exp_dir: PathLike,
    experiments: Sequence[str],
    epoch: int | None,
    avg: int | None,
    output: PathLike,
    title: str,
    published: PathLike | None = None,
    unit: str = "utterance",
) -> str:
    """Write the results of experiments to a Markdown file.

    Args:
      exp_dir: folder of the experiments.
      experiments: names, in the order of the rows.
      epoch, avg: of the results; None: of those decoded last.
      published: YAML file of published results to quote.
      unit: unit of resampling of the intervals, ``utterance`` or ``speaker``.
    Returns:
      The tables, the conditions of their intervals, and the teacher layer of each experiment.
    Raises:
      GmotError: an experiment without such results, results without interval by speaker, or a
        malformed file of published results.
    """
    quoted = f"\n{quotations(published)}" if published else ""
    chosen = {e: choose(Path(exp_dir) / e / "results.json", epoch, avg) for e in experiments}
    for name, records in chosen.items():
        if unit == "speaker":
            _require_speaker_intervals(Path(exp_dir) / name / "results.json", records)
    pooled = pool_seeds(chosen)
    teachers = [f"{name} {teacher_of(records)}" for name, records in pooled.items()]
    notes = [*interval_lines(pooled, unit), *spread_lines(pooled)]
    lines = [results_tables(pooled, unit), "", *notes, "", f"Teacher: {'; '.join(teachers)}."]
    table = "\n".join(lines)
    seeds = ""
    if len(pooled) < len(chosen):
        lines = ["### Training seeds", "", results_tables(chosen, unit, "####"), ""]
        seeds = "\n".join([*lines, *interval_lines(chosen, unit), "", ""])
    details = "\n".join(describe(name, records) for name, records in chosen.items())
    with atomic_path(output) as temporary:
        temporary.write_text(
            f"# {title}\n\nWritten by `local/summarize_results.py`.\n\n## Measured\n\n"
            f"{rates_in_words(r for records in chosen.values() for r in records)} in per cent "
            "with 95% bootstrap intervals; of several training seeds, mean ± standard "
            "deviation.\n\n"
            f"{table}\n\n## Speed\n\n"
            "Real-time factors (seconds per second of speech) over all splits; peak memory "
            "of all methods decoded together.\n\n"
            f"{speed_table(pooled)}\n\n## Details\n\n{seeds}{details}{quoted}",
            encoding="utf-8",
        )
    return table


def quotations(path: PathLike) -> str:
    """Published results and their caveats in Markdown.

    Args:
      path: YAML: ``caveats`` (a list of sentences) and ``papers``, each with ``paper``,
        ``arxiv`` and ``rows`` of ``row, config, dev, test`` and optionally ``note``.
    Raises:
      GmotError: missing or malformed file.
    """
    if not Path(path).is_file():
        raise GmotError(f"--published {path}: no such file. See published.yaml of a recipe.")
    content = load_yaml(str(path))
    try:
        if isinstance(content["caveats"], str):
            raise TypeError("'caveats' is one text, not a list")
        rows = [["paper", "row", "configuration", "dev", "test", "note"]]
        for paper in content["papers"]:
            name = f"{paper['paper']} ({paper['arxiv']})"
            for row in paper["rows"]:
                cers = [f"{float(row[split]):.2f}" for split in ("dev", "test")]
                texts = (row["row"], row["config"], *cers, row.get("note", ""))
                rows.append([name, *map(str, texts)])  # names may be numbers in YAML
        caveats = "\n".join(f"- {sentence}" for sentence in content["caveats"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GmotError(
            f"{path}: malformed published results ({type(error).__name__}: {error}); expected "
            "'caveats' and 'papers' with 'rows' of row, config, dev and test."
        ) from None
    return (
        "## Quoted from the papers\n\nNot measured here: CER in per cent, as printed there.\n\n"
        f"{caveats}\n\n{markdown_table(rows)}\n"
    )


def choose(
    path: Path,
    epoch: int | None,
    avg: int | None,
    split: str | None = None,
    method: str | None = None,
) -> list[Record]:
    """Records of one (epoch, avg, average): the one decoded last among those requested.

    Args:
      path: ``results.json``.
      epoch, avg, split, method: None: any.
    Raises:
      GmotError: missing experiment or results.
    """
    if not path.exists():
        known = sorted(p.parent.name for p in path.parent.parent.glob("*/results.json"))
        raise GmotError(
            f"{path}: not there. Decode '{path.parent.name}' first (local/decode.py); "
            f"{path.parent.parent} has results of: {', '.join(known) or 'none'}."
        )
    everything = read_results(path)
    records = [
        r for r in everything if split in (None, r["split"]) and method in (None, r["method"])
    ]
    if not records:
        found = sorted({f"{r['split']} by {r['method']}" for r in everything})
        raise GmotError(f"{path}: no results of {split} by {method}; found: {', '.join(found)}.")
    decoded = [_weights(r) for r in records]  # sorted by time
    fitting = [key for key in decoded if epoch in (None, key[0]) and avg in (None, key[1])]
    if not fitting:
        raise GmotError(
            f"{path}: no results of --epoch {epoch} --avg {avg}; found (epoch, avg, average): "
            f"{sorted(set(decoded))}."
        )
    return [r for r in records if _weights(r) == fitting[-1]]


def _weights(record: Record) -> tuple[int, int, str]:
    return record["epoch"], record["avg"], record.get("average", "last")


def averaged(record: Record) -> str:
    """Weights of a result in words."""
    epoch, avg, average = _weights(record)
    if average == "ema":
        return f"running average of the weights at epoch {epoch}"
    if average == "best":
        return f"{avg} epochs of lowest dev loss up to {epoch} averaged"
    return f"epochs {epoch - avg + 1} to {epoch} averaged"


def rates_in_words(records: Iterable[Record]) -> str:
    """Such as ``Word error rate (WER), character error rate (CER)``."""
    names = unique(metric for metric, _ in metrics_and_groups(records))
    text = ", ".join(f"{METRICS[name].title} ({name})" for name in names)
    return text[:1].upper() + text[1:]


def _require_speaker_intervals(path: Path, records: Sequence[Record]) -> None:
    for r in records:
        _, score = primary(r)
        if "speaker" not in score.get("intervals", {}):
            raise GmotError(
                f"{path}: no interval by speaker for {r['split']} by {r['method']} "
                f"({score.get('num_speakers') or 'unknown'} speakers). It needs an utt2spk with "
                "two or more speakers: decode again (local/decode.py), or use --unit utterance."
            )


def describe(name: str, records: Sequence[Record]) -> str:
    """Provenance, counts and costs of the results of an experiment."""
    lines = [f"### {name}", "", f"- {averaged(records[0])}"]
    for run in training_runs(records[0].get("training")):
        first, date = run.get("first_epoch", 1), run.get("date")
        since = (f" from epoch {first}" if first > 1 else "") + (f", {date}" if date else "")
        lines.append(f"- trained by `{run.get('command')}`{since}")
        if run.get("environment"):
            lines.append(f"  - {versions(run['environment'])}")
    if (records[0].get("transfer") or {}).get("final_sinkhorn"):
        lines.append("- with a final Sinkhorn at beta after the proximal steps (final_sinkhorn)")
    lines.append(f"- teacher: {teacher_of(records)}")
    lines += [f"- decoded by `{command}`" for command in unique(r.get("command") for r in records)]
    lines += [f"  - {text}" for text in unique(versions(r.get("environment")) for r in records)]
    lines.append(f"- seed {', '.join(map(str, unique(r.get('seed') for r in records)))}")
    for r in records:
        counts = "; ".join(_counts(metric, score) for metric, score in r["scores"].items())
        lines.append(
            f"- {r['split']}, {r['method']}: {counts}; real-time factor {r['rtf_encoder']:.5f} "
            f"(encoder) + {r['rtf_decoding']:.5f} (decoding) on {r['device']}; peak memory "
            f"{r['peak_memory_mb']:.0f} MB{_search(r)}"
        )
    return "\n".join([*lines, ""])


def _counts(metric: str, score: Record) -> str:
    """Error counts of a score in words."""
    homophones = (
        f" ({score['homophone_sub']} of them homophones)" if "homophone_sub" in score else ""
    )
    return (
        f"{metric}: {score['ins']} ins, {score['del']} del, {score['sub']} sub{homophones}, of "
        f"{score['ref_len']} {METRICS[metric].noun} in {score['num_utterances']} utterances, "
        f"{score['num_empty']} without output"
    )


def teacher_of(records: Sequence[Record]) -> str:
    """Teacher layer of an experiment, such as ``layer 12 of 12``."""
    layer, transfer = records[0].get("teacher_layer"), records[0].get("transfer") or {}
    if layer:
        return f"layer {layer['number']} of {layer['of']}"
    without = transfer.get("objective") == "none" or transfer.get("ctc_weight") == 1
    return "none" if without else "not recorded"


def _search(record: Record) -> str:
    """Scales, topologies, and utterances that were not searched as configured."""
    scales = [f"{name} {value:g}" for name, value in (record.get("scales") or {}).items()]
    graphs = (record.get("graphs") or {}).items()
    topologies = [f"{name} {graph['topology']}" for name, graph in graphs if graph.get("topology")]
    texts = [f"scales: {', '.join(scales)}"] if scales else []
    texts += [", ".join(topologies)] if topologies else []
    if record.get("num_beam_reduced"):
        texts.append(
            f"{record['num_beam_reduced']} utterances searched with fewer active states than "
            f"{record['search']['max_active_states']} (at least "
            f"{record['least_max_active_states']}; {record['search']['search_memory']:g} GB)"
        )
    if record.get("num_pruned"):
        texts.append(f"{record['num_pruned']} lattices pruned")
    return "".join(f"; {text}" for text in texts)


def versions(environment: Any) -> str | None:
    """Commit and versions of an environment."""
    if not environment:
        return None
    commit = environment.get("commit") or "unknown"
    dirty = " with uncommitted changes" if environment.get("dirty") else ""
    named = ("python", "torch", "k2", "lhotse", "transformers")
    found = [f"{name} {environment[name]}" for name in named if environment.get(name)]
    return f"commit {commit}{dirty}; {', '.join(found)}"
