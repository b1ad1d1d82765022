"""``vaeaudit run NAME``: compute a study and write its report."""

from __future__ import annotations

from typing import Any

import click

from vaeaudit.study.command import perform
from vaeaudit.study.options import complete_study, run_options


@click.command(
    "run",
    epilog="""\b
Examples:
  vaeaudit run objectives --preset quick
  vaeaudit run objectives --seeds 5 --set epochs=40 --output reports/mine
  srun vaeaudit run objectives --distributed""",
)
@click.argument("name", shell_complete=complete_study)
@run_options
def command(name: str, **options: Any) -> None:
    """Run a study, or go on with it, and report.

    Finished parts are kept: a run that was interrupted or killed goes on where it stopped.

    NAME is a study of `vaeaudit list`, or the path of a script that defines one.
    """
    from vaeaudit.study.find import load_study
    from vaeaudit.study.supervise import place_of

    place_of(options)  # a distributed run goes on in a child, before anything heavy is loaded
    perform(load_study(name), **options)
