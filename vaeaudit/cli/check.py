"""``vaeaudit check``: verify the derivations behind every claim."""

from __future__ import annotations

import json

import click

from vaeaudit.study.console import FAILURE, debug_option, terminal_width


@click.command("check")
@click.argument("names", nargs=-1, metavar="[CLAIM]...")
@click.option("--json", "as_json", is_flag=True, help="Print the claims as JSON, with evidence.")
@debug_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Check the claims' algebra; exit 1 if a verdict differs from the registered one.

    Without CLAIM every registered claim is checked.
    """
    from vaeaudit import tables
    from vaeaudit.derivations.register import check_derivations
    from vaeaudit.tables.rows import json_rows

    click.echo("checking derivations …", err=True)
    frame = check_derivations(list(names) or None)
    differs = frame[~frame["agrees"].astype(bool)]
    if as_json:
        click.echo(json.dumps(json_rows(frame), indent=1, ensure_ascii=False))
    else:
        shown = [c for c in ("claim", "verdict", "registered", "agrees", "statement") if c in frame]
        click.echo(tables.render(frame, columns=shown, width=terminal_width(), max_rows=len(frame)))
        click.echo(f"{len(frame)} claims checked, {len(differs)} differ from their registered verdict")
    if len(differs):
        raise click.exceptions.Exit(FAILURE)
