"""Options that commands share, and the settings file: flag > environment > file > default."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from vaeaudit.study.console import debug_option

Command = TypeVar("Command", bound=Callable[..., Any])

SHARED_KEYS = ("preset", "output", "data_dir", "seeds")  # allowed at the top of a settings file
_META = "vaeaudit.settings"


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(word) for word in close)}?" if close else ""


def _read_config(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Make a settings file's entries the defaults of this command."""
    if value is None:
        return
    try:
        document = tomllib.loads(value.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"cannot read {value}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{value} is not valid TOML: {error}.") from error
    options = [p.name for p in context.command.params if isinstance(p, click.Option) and p.name]
    section_name = context.command.name or "run"
    defaults: dict[str, Any] = {}
    for key, entry in document.items():
        if isinstance(entry, Mapping):
            continue
        if key not in SHARED_KEYS:
            raise click.BadParameter(f"{value}: unknown key {key!r}.{_suggest(key, list(SHARED_KEYS))}")
        if key in options:
            defaults[key] = entry
    section = dict(document.get(section_name, {}))
    context.meta[_META] = dict(section.pop("set", {}))
    for key, entry in section.items():
        name = key.replace("-", "_")
        if name not in options:
            raise click.BadParameter(
                f"{value}: unknown key {key!r} in [{section_name}].{_suggest(name, options)}"
            )
        defaults[name] = entry
    context.default_map = {**(context.default_map or {}), **defaults}


config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="VAEAUDIT_CONFIG",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="TOML file with defaults: shared keys at the top, [run], [audit], [run.set] below.",
)


def _use_data_dir(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        os.environ["VAEAUDIT_DATA_DIR"] = str(value)


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="VAEAUDIT_DATA_DIR",
    expose_value=False,
    callback=_use_data_dir,
    help="Folder of data sets such as mnist; looked at before the cache and before downloading.",
)


def _parse_set(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    """Read KEY=VALUE pairs, the value as TOML where it is TOML and as text otherwise."""
    settings: dict[str, Any] = dict(context.meta.get(_META, {}))
    for pair in value:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"expected KEY=VALUE, e.g. epochs=20; got {pair!r}.")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, KeyError):
            settings[key.strip()] = text
    return settings


def complete_study(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of studies that start with what was typed."""
    from vaeaudit.study.find import list_studies

    return [study.name for study in list_studies() if study.name.startswith(incomplete)]


def _complete_preset(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in ("quick", "standard", "full") if name.startswith(incomplete)]


_WHICH = [
    click.option(
        "--preset",
        default="standard",
        show_default=True,
        metavar="quick|standard|full",
        envvar=["VAEAUDIT_RUN_PRESET", "VAEAUDIT_PRESET"],
        shell_complete=_complete_preset,
        help="Size of the study.",
    ),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        metavar="DIR",
        envvar=["VAEAUDIT_RUN_OUTPUT", "VAEAUDIT_OUTPUT"],
        help="Output folder.  [default: reports/NAME]",
    ),
    click.option(
        "--seeds",
        type=click.IntRange(min=1),
        envvar=["VAEAUDIT_RUN_SEEDS", "VAEAUDIT_SEEDS"],
        help="Number of seeds, in place of the preset's.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        callback=_parse_set,
        metavar="KEY=VALUE",
        help="Replace a setting of the preset; may be repeated.",
    ),
    config_option,
]
_HOW = [
    data_dir_option,
    click.option("--dry-run", is_flag=True, help="Print the plan and what is finished; compute nothing."),
    click.option("--fresh", is_flag=True, help="Compute finished cells again."),
    click.option("--no-report", is_flag=True, help="Write tables and results.json only."),
]
_LAST = [click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."), debug_option]


_MANY = [
    click.option(
        "--distributed",
        is_flag=True,
        help="Compute with other processes, each started with this command: by srun or mpirun, or by hand "
        "with the next three options.",
    ),
    click.option("--coordinator", metavar="HOST:PORT", help="Where process 0 listens."),
    click.option("--num-processes", type=click.IntRange(min=1), help="Processes of the run."),
    click.option("--process-id", type=click.IntRange(min=0), help="Number of this one, from 0."),
    click.option(
        "--process-timeout",
        type=click.FloatRange(min=1.0),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="Wait this long for the others at the start, and later for a sign of life.",
    ),
]


def _apply(command: Command, options: list[Callable[[Any], Any]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def run_options(command: Command) -> Command:
    """Options of ``vaeaudit run NAME`` and of a study's script run by itself."""
    return _apply(command, [*_WHICH, *_HOW, *_MANY, *_LAST])


def report_options(command: Command) -> Command:
    """Options of ``vaeaudit report NAME``."""
    return _apply(command, [*_WHICH, *_LAST])
