"""Exit codes, errors without tracebacks, and progress on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from vaeaudit.core.errors import UnknownNameError, VaeauditError

if TYPE_CHECKING:
    from vaeaudit.study.runner import Event

OK, FAILURE, USAGE, THRESHOLD, INTERRUPT = 0, 1, 2, 3, 130
_debug = False


def _set_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    global _debug
    _debug = _debug or value


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)


def execute(
    command: click.Command, args: Sequence[str] | None = None, prog_name: str | None = None
) -> NoReturn:
    """Run a click command and leave with its exit code; known errors print one plain message."""
    global _debug
    _debug = False
    try:
        code = command.main(args=args, prog_name=prog_name, standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPT)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except VaeauditError as error:
        if _debug:
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(USAGE if isinstance(error, UnknownNameError) else FAILURE)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILURE)
    sys.exit(code if isinstance(code, int) else OK)


def duration(seconds: float) -> str:
    """Seconds for people: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Prints a run's events to stderr: one line per cell, with a bar where somebody watches."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._skipped = 0
        self._watched = sys.stderr.isatty()

    def __call__(self, event: Event) -> None:
        say = self._line(event)
        if say:
            click.echo(say, err=True)

    def _count(self, event: Event, done: int) -> str:
        width = 20
        filled = round(width * done / max(event.total, 1))
        bar = f"{'█' * filled}{'░' * (width - filled)} " if self._watched else ""
        return f"{bar}[{event.index}/{event.total}]"

    def _line(self, event: Event) -> str:
        if event.kind == "start":
            return f"{event.message}: {event.total} {'cell' if event.total == 1 else 'cells'}"
        if event.kind == "skip":
            self._skipped += 1
            return f"{self._count(event, event.index)} {event.key}: finished earlier"
        if event.kind == "damaged":
            return f"{self._count(event, event.index - 1)} {event.key}: computing again, {event.message}"
        if event.kind == "compute":
            return f"{self._count(event, event.index - 1)} {event.key} …" if self._watched else ""
        if event.kind == "done":
            self._seconds.append(event.seconds)
            left = event.total - event.index
            rest = left * sum(self._seconds) / len(self._seconds)
            estimate = f", about {duration(rest)} left if the rest is alike" if left else ""
            return f"{self._count(event, event.index)} {event.key}: {duration(event.seconds)}{estimate}"
        if event.kind == "page":
            return "writing tables and the report …"
        return f"finished in {duration(event.seconds)}"


def terminal_width() -> int:
    """Columns for a table on stdout: the terminal's, or 110 where there is none."""
    return max(40, shutil.get_terminal_size((110, 24)).columns)
