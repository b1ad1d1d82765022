"""Progress of a training run on stderr: one moving line where somebody watches, else only the compiling."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from vaeaudit.core.processes import is_first


def training_progress(label: str) -> Callable[[int, int, Mapping[str, Any]], None]:
    """Return a callback for ``fit`` and ``sweep`` that reports under ``label``.

    Notes
    -----
    "compiling…" is announced whenever a program is compiled. The remaining time is extrapolated from
    the epochs of the program at hand, measured after its compilation.
    """
    watched = sys.stderr.isatty()
    if not is_first():  # of several processes one speaks
        return lambda epoch, num_epochs, info: None
    start = [time.monotonic(), 0]  # seconds and epoch at which this program's training began

    def report(epoch: int, num_epochs: int, info: Mapping[str, Any]) -> None:
        event = info.get("event")
        if event == "compiling":
            click.echo(f"{label}: compiling…", err=True)
            start[:] = [time.monotonic(), 0]
        elif event == "training" and watched:
            if epoch < start[1] or start[1] == 0:
                start[:] = [time.monotonic(), epoch]
                left = ""
            else:
                per_epoch = (time.monotonic() - start[0]) / max(epoch - start[1], 1)
                left = f", {per_epoch * (num_epochs - epoch):.0f} s left"
            click.echo(f"\r\x1b[K{label}: epoch {epoch}/{num_epochs}{left}", err=True, nl=epoch >= num_epochs)

    return report
