"""Whether a setting given on the command line is of the kind that the study's preset has there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


def check_kinds(known: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a value of another kind before anything is computed with it.

    A preset's None stands for any kind, and a number with a decimal point also for a whole one.

    Raises
    ------
    click.UsageError
        If a value is a word for a number, one number for a list, and the like; says what the preset has.
    """
    for name, value in given.items():
        if name in known and not _alike(known[name], value):
            raise click.UsageError(
                f"setting {name!r} is {_kind(known[name])} such as {_written(known[name])}; got {_written(value)}."
                + _remedy(name, known[name], value)
            )


def _alike(sample: Any, value: Any) -> bool:
    if sample is None:
        return True
    if isinstance(sample, list | tuple):
        items = isinstance(value, list | tuple)
        return items and (not sample or all(any(_alike(s, v) for s in sample) for v in value))
    if isinstance(sample, bool) or isinstance(value, bool):
        return isinstance(sample, bool) and isinstance(value, bool)
    if isinstance(sample, float):
        return isinstance(value, float | int)
    return isinstance(value, type(sample))


def _kind(sample: Any) -> str:
    if isinstance(sample, bool):
        return "true or false,"
    if isinstance(sample, list | tuple):
        return "a list"
    return {int: "a whole number", float: "a number", str: "a word"}.get(type(sample), "a value")


def _written(value: Any) -> str:
    """As TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _remedy(name: str, sample: Any, value: Any) -> str:
    if name == "seeds" and isinstance(value, int):
        return f" For {value} seeds say --seeds {value}."
    if isinstance(sample, list | tuple) and not isinstance(value, list | tuple) and sample:
        wanted = [value] if _alike(sample[0], value) else list(sample)[:2]
        return f" Write --set '{name}={_written(wanted)}'."
    return ""
