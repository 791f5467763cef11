"""Configuration dataclasses: checked values, dictionaries, YAML files, differences.

A configuration is a frozen dataclass; the string below a field documents it. ``gmot.cli`` makes
options, YAML keys and help of it. A resumed training must have the same values, except those of
fields made by :func:`may_change`.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from gmot.common import GmotError, PathLike

T = TypeVar("T")


class ConfigError(GmotError):
    """A field, with a dotted ``key`` where it is nested, whose value is out of its range."""

    def __init__(self, key: str, found: Any, expected: str):
        super().__init__(f"{key}: expected {expected}, found {found!r}.")
        self.key, self.found, self.expected = key, found, expected


def may_change(default: Any, noted: bool = False) -> Any:
    """Field that a resumed training may change.

    ``noted``: it affects the result; its change is recorded in the history of the runs.
    """
    return field(default=default, metadata={"may_change": "noted" if noted else "free"})


def changeable(cls: type, role: str, prefix: str = "") -> set[str]:
    """Dotted names of the fields of a configuration dataclass with a role on resume.

    ``role``: ``free`` or ``noted`` (:func:`may_change`). A role holds for all fields of a nested
    dataclass.
    """
    found: set[str] = set()
    for f in fields(cls):  # type: ignore[arg-type]
        if f.metadata.get("may_change") != role:
            continue
        nested = f.type if is_dataclass(f.type) else None
        names = [f"{f.name}.{g.name}" for g in fields(nested)] if nested else [f.name]  # type: ignore[arg-type]
        found.update(prefix + name for name in names)
    return found


def check(config: Any, holds: bool, name: str, expected: str) -> None:
    """Raises ConfigError about field ``name`` unless ``holds``."""
    if not holds:
        raise ConfigError(name, getattr(config, name), expected)


def check_range(config: Any, low: float, high: float, *names: str) -> None:
    """Raises ConfigError for a field that is not in [low, high] and finite; None is allowed."""
    limits = f"a number from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
    for name in names:
        value = getattr(config, name)
        holds = value is None or (low <= value <= high and value < math.inf)
        check(config, holds, name, limits)


def check_positive(config: Any, *names: str) -> None:
    """Raises ConfigError for a field that is not above 0; None is allowed."""
    for name in names:
        value = getattr(config, name)
        check(config, value is None or 0 < value < math.inf, name, "a positive number")


def check_choices(config: Any) -> None:
    """Raises ConfigError for a field whose Literal type does not hold its value."""
    for f in fields(config):
        kinds = [f.type, *get_args(f.type)]
        choices = [c for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
        value = getattr(config, f.name)
        if choices and value not in choices and not (value is None and type(None) in kinds):
            raise ConfigError(f.name, value, f"one of {', '.join(map(str, choices))}")


def from_dict(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Instance of a configuration dataclass; nested dataclasses are mappings.

    Raises:
      GmotError: unknown key.
      ConfigError: value out of range; its key begins with ``prefix``.
    """
    types: dict[str, Any] = {f.name: f.type for f in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(types)):
        raise GmotError(
            f"{prefix or cls.__name__}: unknown keys {', '.join(unknown)}. Known: "
            f"{', '.join(types)}. A checkpoint with others was made by another version of gmot."
        )
    made = {
        name: from_dict(types[name], value, f"{prefix}{name}.")
        if is_dataclass(types[name]) and isinstance(value, Mapping)
        else value
        for name, value in values.items()
    }
    try:
        return cls(**made)
    except ConfigError as error:
        if error.key.startswith(prefix):
            raise
        raise ConfigError(prefix + error.key, error.found, error.expected) from None


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each leaf of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(old: Mapping, new: Mapping, ignored: Collection[str] = ()) -> list[str]:
    """``key: old value there, new value here`` of the leaves of nested mappings that differ."""
    before, after = dict(flatten(old)), dict(flatten(new))
    return [
        f"{key}: {before.get(key)!r} there, {after.get(key)!r} here"
        for key in sorted({*before, *after}.difference(ignored))
        if before.get(key) != after.get(key)
    ]


def load_yaml(path: PathLike) -> dict[str, Any]:
    """Mapping of a YAML file; raises GmotError if it is missing, not YAML, or not a mapping."""
    import yaml

    try:
        with open(path, encoding="utf-8") as f:
            content = yaml.safe_load(f)
    except OSError as error:
        raise GmotError(f"{path}: {error.strerror}. Give an existing file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GmotError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, (dict, type(None))):
        raise GmotError(f"{path}: expected 'key: value' lines, found a {type(content).__name__}")
    return content or {}
