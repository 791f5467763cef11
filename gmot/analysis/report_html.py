"""Report of an experiment as one HTML page: ``exp/<name>/report.html``."""

import argparse
import contextlib
import datetime
import json
import logging
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from gmot.analysis import page
from gmot.analysis.curves import grouped_tags, make_panels
from gmot.analysis.history import History, Picture, read_history
from gmot.analysis.plots import draw_curves, to_svg
from gmot.analysis.worst import listed, worst_utterances
from gmot.common import GmotError, atomic_path, read_json
from gmot.config import flatten
from gmot.data.clips import Clips, encode_clips
from gmot.evaluation.bootstrap import interval_of
from gmot.evaluation.files import Record, metrics_and_groups, primary, score_of
from gmot.evaluation.groups import rate_title
from gmot.evaluation.report import averaged, choose, describe, rates_in_words, versions
from gmot.evaluation.seeds import unique
from gmot.evaluation.tables import interval_lines, method_rank
from gmot.provenance import BOARD, RUNS, SKIPPED, command, training_runs
from gmot.text.scoring_units import METRICS


class Experiment(NamedTuple):
    """What the folder of an experiment holds; each part may be empty.

    Attributes:
      training: content of ``config.json``: ``config`` and ``runs``.
      records: of the epoch decoded last.
      skipped: number of skipped updates on record.
    """

    folder: Path
    history: History
    training: dict[str, Any]
    records: list[Record]
    skipped: int

    @property
    def config(self) -> dict[str, Any]:
        return self.training.get("config") or {}

    @property
    def arguments(self) -> dict[str, Any]:
        """Options of the last run of the training."""
        runs = training_runs(self.training)
        return (runs[-1].get("arguments") or {}) if runs else {}


def read_experiment(folder: Path) -> Experiment:
    """Raises GmotError if the folder has neither event files nor results, or broken ones."""
    board, results = folder / BOARD, folder / "results.json"
    trained = any(board.glob("*tfevents*"))
    if not trained and not results.exists():
        raise GmotError(
            f"{folder}: neither event files of a training ({BOARD}/) nor results.json. Give the "
            "folder of an experiment as --exp-dir."
        )
    return Experiment(
        folder,
        read_history(folder) if trained else History(folder.resolve().name),
        read_json(folder / RUNS) if (folder / RUNS).exists() else {},
        choose(results, None, None) if results.exists() else [],
        _num_skipped(folder / SKIPPED),
    )


def _num_skipped(path: Path) -> int:
    """Updates on record; a line of each process may name one."""
    steps = set()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # the last line of a killed process
            steps.add(json.loads(line).get("step"))
    return len(steps)


def make_report(args: argparse.Namespace) -> Path:
    """Write the page with the options of ``local/make_report.py``; returns its path.

    Raises:
      GmotError: not an experiment, or no such results.
    """
    found = read_experiment(Path(args.exp_dir))
    output = Path(args.output) if args.output else found.folder / "report.html"
    sections = {
        "Curves": curves(found.history),
        "Couplings": couplings(found.history),
        "Error rates": error_rates(found, args.unit),
        "Worst utterances": worst(found, args),
        "Configuration": configuration(found.config),
        "Provenance": provenance(found),
    }
    name = found.history.name
    folder = "/".join(found.folder.resolve().parts[-3:])
    header = f'<p class="soft">{escape(folder)}</p>{page.facts(summary(found))}'
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    footer = f"Written {now} by <code>{escape(command())}</code>"
    with atomic_path(output) as temporary:
        temporary.write_text(page.make_page(name, sections, header, footer), encoding="utf-8")
    logging.info("%s: %.1f MB", output, output.stat().st_size / 1e6)
    return output


def summary(found: Experiment) -> list[tuple[str, str, str]]:
    """The state of the training and its main results at a glance."""
    history, config = found.history, found.config
    values: list[tuple[str, str, str]] = []
    transfer, training = config.get("transfer") or {}, config.get("training") or {}
    if transfer.get("objective"):
        of = config.get("teacher_layer")
        layer = f"teacher's layer {of['number']} of {of['of']}" if of else "no teacher"
        values.append(("objective", transfer["objective"], layer))
    epoch, total = history.last("dev/epoch"), training.get("num_epochs")
    if epoch is None and "dev/cer" in history.scalars:
        epoch = len(history.scalars["dev/cer"].values)
    if epoch is not None:
        values.append(("epochs", f"{epoch:g}" + (f" of {total}" if total else ""), ""))
    updates = max((int(c.updates[-1]) for c in history.scalars.values()), default=0)
    if updates:
        duration = (
            f"{history.hours:.1f} h" if history.hours >= 1 else f"{history.hours * 60:.0f} min"
        )
        values.append(("updates", f"{updates:,}", f"in {duration} from first to last"))
    cer = history.scalars.get("dev/cer")
    if cer is not None:
        best = cer.values.argmin()
        at = history.epoch_of(int(cer.updates[best])) or best + 1
        remark = f"lowest {cer.values[best]:.2f} % (epoch {at})"
        values.append(("dev CER in training", f"{cer.values[-1]:.2f} %", remark))
    if found.skipped:
        values.append(("skipped updates", str(found.skipped), f"see {SKIPPED}"))
    for split in unique(r["split"] for r in found.records):
        record = min((r for r in found.records if r["split"] == split), key=method_rank)
        for metric, score in record["scores"].items():
            _, low, high = interval_of(score["intervals"], "utterance")
            remark = f"{low:.2f} to {high:.2f}, {record['method']}"
            values.append((f"{split} {metric}", f"{score['rate']:.2f} %", remark))
    return values


def curves(history: History) -> str:
    """Curves of all scalars, by group; constant ones in words."""
    groups, constants = [], []
    for name, tags in grouped_tags(history).items():
        images = []
        for panel in make_panels([history], tags):
            if panel.constant is None:
                versions = (to_svg(draw_curves([panel], dark=dark)) for dark in (False, True))
                images.append(page.themed_image(*versions, panel.title))
            else:
                constants.append(f"{panel.title} {panel.constant:g}")
        if images:
            groups.append(f"<h3>{name}</h3>{page.grid(images)}")
    if constants:
        groups.append(f'<p class="soft">Constant: {escape("; ".join(constants))}.</p>')
    return "".join(groups)


def couplings(history: History) -> str:
    """Couplings of the same utterances after the first, middle and last epoch."""
    found = history.pictures.get("couplings", [])
    if not found:
        return ""
    chosen = [found[i] for i in sorted({0, (len(found) - 1) // 2, len(found) - 1})]
    names = [_when(history, picture) for picture in chosen]
    figures = [
        f"<figcaption>{name}</figcaption>{page.image(picture.png, f'couplings, {name}')}"
        for name, picture in zip(names, chosen)
    ]
    note = (
        "Frames from left to right, tokens from top to bottom; each token's row is scaled to its "
        "maximum. All epochs: TensorBoard, tab Images."
    )
    return f'<p class="soft">{note}</p>{page.grid(figures, "couplings")}'


def _when(history: History, picture: Picture) -> str:
    epoch = history.epoch_of(picture.update)
    return (f"epoch {epoch}, " if epoch else "") + f"update {picture.update:,}"


def error_rates(found: Experiment, unit: str) -> str:
    """Per metric and group, a table of methods and splits: rate, interval, counts of errors."""
    records = found.records
    if not records:
        return "<p>Not decoded yet (<code>local/decode.py</code>).</p>"
    splits = unique(r["split"] for r in records)
    by_method: dict[str, dict[str, Record]] = {}
    for record in sorted(records, key=method_rank):
        by_method.setdefault(record["method"], {})[record["split"]] = record
    tables = []
    for metric, group in metrics_and_groups(records):
        rows = [
            (method, [_rate(of_split.get(split), metric, group, unit) for split in splits])
            for method, of_split in by_method.items()
        ]
        title = escape(rate_title(metric, group))
        tables.append(f"<h3>{title}</h3>{page.table(('decoding', *splits), rows)}")
    lines = interval_lines({found.history.name: records}, unit)
    notes = "".join(f"<br>{escape(line.removeprefix('- '))}." for line in lines)
    return (
        f"<p>{rates_in_words(records)} in per cent; {averaged(records[0])}.</p>{''.join(tables)}"
        f'<p class="soft">Below each rate: 95 % bootstrap interval; insertions, deletions, '
        f"substitutions.{notes}</p>"
    )


def _rate(record: Record | None, metric: str, group: str | None, unit: str) -> str:
    score = score_of(record, metric, group) if record else None
    if score is None:
        return "-"
    _, low, high = interval_of(score["intervals"], unit)
    return (
        f"<b>{score['rate']:.2f}</b><small>{low:.2f} to {high:.2f}</small>"
        f"<small>{score['ins']} ins, {score['del']} del, {score['sub']} sub</small>"
    )


def worst(found: Experiment, args: argparse.Namespace) -> str:
    """Utterances with the most errors, with alignments and audio."""
    record = _chosen_record(found, args.split, args.method)
    if record is None or not args.worst:
        return ""
    utterances = worst_utterances(found.folder, record, args.worst)
    clips = _clips(found, record["split"], [u.id for u in utterances], args)
    return (
        f"<p>The {len(utterances)} utterances of <b>{escape(record['split'])}</b> with the most "
        f"{escape(primary(record)[0])} errors, by {escape(record['method'])}.</p>"
        f"{listed(utterances, clips, METRICS[primary(record)[0]].noun)}"
    )


def _chosen_record(found: Experiment, split: str | None, method: str | None) -> Record | None:
    """Default: dev (the worst of test are not to be learned from), the simplest method."""
    if not found.records:
        return None
    splits = unique(r["split"] for r in found.records)
    split = split or ("dev" if "dev" in splits else splits[0])
    fitting = [r for r in found.records if r["split"] == split and method in (None, r["method"])]
    if not fitting:
        known = sorted({f"{r['split']} by {r['method']}" for r in found.records})
        raise GmotError(
            f"{found.folder}: no results of --split {split} by --method {method or 'any'}; found: "
            f"{', '.join(known)}."
        )
    return min(fitting, key=method_rank)


def _clips(found: Experiment, split: str, ids: Sequence[str], args: argparse.Namespace) -> Clips:
    fbank_dir = args.fbank_dir or found.arguments.get("fbank_dir")
    prefix = args.prefix or found.arguments.get("prefix")
    if not fbank_dir or not prefix:
        return Clips({}, dict.fromkeys(ids, "--fbank-dir and --prefix are not known"))
    limits = (args.audio_limit * 1e6, args.audio_total * 1e6)
    return encode_clips(fbank_dir, prefix, split, ids, *limits)


def configuration(config: Mapping[str, Any]) -> str:
    """Sections of the configuration in columns."""
    if not config:
        return ""
    sections = {
        name: dict(flatten(value)) for name, value in config.items() if isinstance(value, Mapping)
    }
    others = {k: v for k, v in config.items() if not isinstance(v, Mapping)}
    tables = "".join(page.settings(name, values) for name, values in sections.items())
    return f'<div class="columns">{tables}{page.settings("inputs", others) if others else ""}</div>'


def provenance(found: Experiment) -> str:
    """Runs of the training, and commands and costs of decoding."""
    runs = []
    for run in training_runs(found.training):
        environment = run.get("environment") or {}
        machine = ", ".join(str(environment[k]) for k in ("host", "platform") if environment.get(k))
        update, changes = run.get("first_update", 1), run.get("changes")
        start = f"epoch {run.get('first_epoch', 1)}" + (f", update {update}" if update > 1 else "")
        runs.append(
            f"<p>From {start}, {escape(str(run.get('date')))}"
            + (f"<br>Changed: {escape('; '.join(changes))}" if changes else "")
            + f'<br><span class="soft">{escape(versions(environment) or "")}; '
            f"{escape(machine)}</span></p><pre>{escape(str(run.get('command')))}</pre>"
        )
    content = f"<h3>Training</h3>{''.join(runs)}" if runs else ""
    if found.records:
        text = describe(found.history.name, found.records).split("\n", 2)[2]
        content += page.details("Decoding: commands, versions, costs", f"<pre>{escape(text)}</pre>")
    return content
