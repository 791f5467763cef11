"""Corpora as tables of audio files and transcripts: csv, tsv or jsonl files."""

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gmot.common import GmotError, read_utf8, require_file
from gmot.data.kaldi import WHOLE, Segment, Split, make_split, open_recordings, refuse_repeated

# Role of a column -> usual names, the preferred first.
ROLES = {
    "path": (
        *("path", "audio_filepath", "audio_path", "audio_file", "audio", "wav_filename"),
        *("wav_path", "wav", "file_path", "filepath", "file_name", "filename", "file", "clip"),
    ),
    "text": (
        *("text", "sentence", "transcript", "transcription", "normalized_text", "label"),
        *("utterance_text", "txt"),
    ),
    "speaker": ("speaker", "speaker_id", "client_id", "spk", "spk_id", "speakerid", "user_id"),
    "split": ("split", "set", "subset", "partition"),
    "id": ("id", "utterance_id", "utt_id", "uttid", "utterance", "utt", "key"),
}
FOLDERS = ("", "clips", "wavs", "wav", "audio")  # of the audio, beside a table
SUFFIXES = ("", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
SUFFICES = 20  # rows that show where the audio is
MOST_BROKEN = 0.1  # share of rows of another width than the header, beyond which a table is refused
MOST_LINES = 3  # of a quoted field


class Row(NamedTuple):
    """A row of a table; absent values are empty."""

    where: str  # file and line
    path: str
    text: str
    speaker: str = ""
    split: str = ""
    id: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of a file, rows that have another number of fields, and the columns of the roles."""

    path: Path
    rows: list[Row]
    broken: list[tuple[str, str]]  # (file and line, reason)
    columns: dict[str, str]


def read_table_splits(
    files: Sequence[Path],
    columns: Mapping[str, str] | None = None,
    audio_dir: Path | None = None,
    num_jobs: int = 4,
    channel: int | None = None,
) -> list[Split]:
    """Splits of a corpus in tables.

    Splits are named by the column of the role ``split``, or else by the files' names (if there are
    several), or else ``"all"``. An utterance's id is that of its column, or the name of its audio
    file, preceded by its folders where names are not unique.

    Args:
      files: ``.csv``, ``.tsv`` or ``.jsonl`` files with a row per utterance.
      columns: role (:data:`ROLES`) -> name of the column, or its number from 1 in a table without a
        header; roles that are not given are found by usual names.
      audio_dir: folder that paths of audio files are relative to; None: the table's folder, or one
        of :data:`FOLDERS` in it.
      num_jobs: audio files that are opened at a time.
      channel: of audio with several; None: such audio is excluded.

    Raises:
      GmotError: a file is missing or is not such a table, ids are repeated.
    """
    tables = [load_table(path, columns or {}) for path in files]
    parts: dict[str, list[tuple[Row, Path]]] = defaultdict(list)
    broken: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for table in tables:
        name = table.path.stem if len(tables) > 1 else WHOLE
        broken[name] += table.broken
        for row, path in zip(table.rows, _find_audio(table, audio_dir)):
            if path is None:
                broken[row.split or name].append((row.where, "no audio file is named"))
            else:
                parts[row.split or name].append((row, path))
    ids = _utterance_ids([pair for part in parts.values() for pair in part])
    splits = []
    for name, pairs in parts.items():
        own = {next(ids): pair for pair in pairs}
        names = {path: key for key, (_, path) in reversed(own.items())}  # of recordings
        split = make_split(
            name,
            {key: Segment(names[path]) for key, (_, path) in own.items()},
            {key: row.text for key, (row, _) in own.items()},
            {key: row.speaker for key, (row, _) in own.items()},
            open_recordings({key: path for path, key in names.items()}, name, num_jobs),
            channel,
        )
        split.excluded += broken.pop(name, [])
        splits.append(split)
    for name, lines in broken.items():  # splits without a usable row
        if lines:
            splits.append(Split(name, excluded=lines))
    return splits


def load_table(path: Path, columns: Mapping[str, str]) -> Table:
    """Read a csv, tsv or jsonl file; see :func:`read_table_splits`.

    Raises:
      GmotError: it is missing or empty, has other columns, or is malformed.
    """
    require_file(path, "table", "Expected a csv, tsv or jsonl file with a row per utterance.")
    text = read_utf8(path, "utf-8-sig")
    if path.suffix in (".jsonl", ".json"):
        return _load_json_lines(path, text, columns)
    if path.suffix not in (".csv", ".tsv", ".txt"):
        raise GmotError(f"{path}: expected a .csv, .tsv or .jsonl file.")
    numbered = {role: name for role, name in columns.items() if name.isdigit()}
    lines = _tsv_lines(text) if path.suffix == ".tsv" else _csv_lines(path, text)
    first, header = next(lines, (1, []))
    if numbered:
        if len(numbered) < len(columns):
            raise GmotError("--columns: expected either names of a header or numbers from 1.")
        found = {role: int(number) - 1 for role, number in numbered.items()}
        wrong = [role for role, index in found.items() if not 0 <= index < len(header)]
        if wrong or not {"path", "text"} <= found.keys():
            raise GmotError(
                f"{path}: --columns: expected path and text, numbers from 1 to {len(header)} (the "
                f"columns of line {first})."
            )
        lines = _chain((first, header), lines)
    else:
        header = [name.strip() for name in header]
        found = {role: header.index(n) for role, n in _columns(path, header, columns).items()}
    rows, broken = [], []
    for number, fields in lines:
        where = f"{path.name}:{number}"
        if len(fields) != len(header):
            broken.append((where, f"{len(fields)} fields, expected {len(header)}"))
            continue
        values = {role: fields[index].strip() for role, index in found.items()}
        rows.append(Row(where, **values))
    if not rows or len(broken) > MOST_BROKEN * len(rows):
        what = ": ".join(broken[0]) if broken else "no rows"
        raise GmotError(
            f"{path}: {len(broken)} of {len(rows) + len(broken)} rows do not fit the header "
            f"({', '.join(header)}); the first: {what}. Check the separator and the quotes."
        )
    shown = {
        role: header[index] if not numbered else f"{index + 1}" for role, index in found.items()
    }
    return Table(path, rows, broken, shown)


def _chain(first: tuple, rest: Iterator[tuple]) -> Iterator[tuple]:
    yield first
    yield from rest


def _tsv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of the lines; a field may be enclosed in quotes, which are then removed.

    Other quotes are part of the text, as in the tables of Common Voice.
    """
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if line.strip():
            yield number, [_unquoted(field) for field in line.split("\t")]


def _unquoted(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"':
        inner = field[1:-1].replace('""', "")
        if '"' not in inner:  # else two quotations, which are text
            return field[1:-1].replace('""', '"')
    return field


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;|\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for fields in reader:
            if reader.line_num - start >= MOST_LINES:
                raise csv.Error(f"a quoted field of {reader.line_num - start + 1} lines")
            if any(field.strip() for field in fields):
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise GmotError(
            f"{path}, line {start}: {error}. A quote that opens a field must close it, and quotes "
            f'within are doubled: "He said ""yes""". Save the table again, or as tsv.'
        ) from None


def _load_json_lines(path: Path, text: str, columns: Mapping[str, str]) -> Table:
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"a {type(record).__name__}")
        except ValueError as error:
            raise GmotError(
                f"{path}, line {number}: {error}; expected one JSON object per line."
            ) from None
        records.append((f"{path.name}:{number}", record))
    if not records:
        raise GmotError(f"{path}: no rows.")
    counts = Counter(key for _, record in records for key in record)
    found = _columns(path, list(counts), columns)
    rows = [
        Row(where, **{role: _as_text(record.get(name)) for role, name in found.items()})
        for where, record in records
    ]
    return Table(path, rows, [], found)


def _as_text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _columns(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Column of each role that the table has.

    Raises:
      GmotError: there is no such column, or none of the path or of the text.
    """
    found = {}
    lower = {name.lower().replace(" ", "_").replace("-", "_"): name for name in reversed(header)}
    for role, usual in ROLES.items():
        if role in columns:
            if columns[role] not in header:
                raise GmotError(
                    f"{path}: no column '{columns[role]}' for {role}; it has: {', '.join(header)}"
                )
            found[role] = columns[role]
        elif name := next((lower[n] for n in usual if n in lower), None):
            found[role] = name
    missing = [role for role in ("path", "text") if role not in found]
    if missing:
        shown = ", ".join(header)
        raise GmotError(
            f"{path}: no column of the {' and the '.join(missing)}; the first line has: "
            f"{shown[:200]}. Name them: --columns path=NAME text=NAME, or by number from 1 where "
            "the table has no header."
        )
    return found


def _find_audio(table: Table, audio_dir: Path | None) -> list[Path | None]:
    """Audio file of each row; None where none is named."""
    folder = table.path.absolute().parent
    roots = [audio_dir.absolute()] if audio_dir else [folder / inner for inner in FOLDERS]
    sample = [row.path for row in table.rows if row.path][:SUFFICES]
    tries = [(root, suffix) for root in roots for suffix in SUFFIXES]
    exist = [sum((root / (p + suffix)).is_file() for p in sample) for root, suffix in tries]
    root, suffix = tries[exist.index(max(exist))]  # the first of the best
    return [root / (row.path + suffix) if row.path else None for row in table.rows]


def _utterance_ids(pairs: Sequence[tuple[Row, Path]]) -> Iterator[str]:
    """Unique ids, without white space."""
    given = [row.id for row, _ in pairs]
    if all(given):
        ids = ["_".join(key.split()) for key in given]
        refuse_repeated([key for key, n in Counter(ids).items() if n > 1], "column of ids")
        return iter(ids)
    stems = {path: path.stem for _, path in pairs}
    if len(set(stems.values())) < len(stems):
        common = Path(*_common_parts(list(stems)))
        stems = {p: "-".join(p.relative_to(common).with_suffix("").parts) for p in stems}
    seen: Counter = Counter()
    ids = []
    for _, path in pairs:
        seen[path] += 1
        again = f"-{seen[path]}" if seen[path] > 1 else ""
        ids.append("_".join(stems[path].split()) + again)
    refuse_repeated([key for key, n in Counter(ids).items() if n > 1], "names of audio files")
    return iter(ids)


def _common_parts(paths: Sequence[Path]) -> list[str]:
    parts = zip(*(path.parent.parts for path in paths))
    common = []
    for level in parts:
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return common
