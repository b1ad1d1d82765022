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
    """Check the derivations behind the claims.

    Exits with 1 if a verdict differs from the registered one.

    Without CLAIM every registered claim is checked; with some, each is printed whole.
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
        if names:
            for row in json_rows(frame):
                for key, value in row.items():
                    click.echo(f"{key + ':':16s}{value}")
                click.echo()
        else:
            shown = ["claim", "verdict", "registered", "agrees"]
            click.echo(
                tables.render(frame, columns=shown, width=max(terminal_width(), 110), max_rows=len(frame))
            )
        click.echo(f"{len(frame)} claims checked, {len(differs)} differ from their registered verdict")
    if len(differs):
        raise click.exceptions.Exit(FAILURE)
