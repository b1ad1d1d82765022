"""``vaeaudit report NAME``: render a finished study again, without computing."""

from __future__ import annotations

from typing import Any

import click

from vaeaudit.study.command import perform
from vaeaudit.study.options import complete_study, report_options


@click.command("report")
@click.argument("name", shell_complete=complete_study)
@report_options
def command(name: str, **options: Any) -> None:
    """Render a finished study again.

    Tables and report are written from the finished cells of study NAME; nothing is computed.

    Preset, settings and output must be those of the run. A cell that is not finished is an error.
    """
    from vaeaudit.study.find import load_study

    perform(load_study(name), **options, compute=False)
