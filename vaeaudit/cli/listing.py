"""``vaeaudit list``: the studies at hand."""

from __future__ import annotations

import dataclasses
import json
import textwrap

import click

from vaeaudit.study.console import debug_option, terminal_width


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@debug_option
def command(as_json: bool) -> None:
    """List the studies to run."""
    from vaeaudit.study.find import list_studies

    found = list_studies()
    if as_json:
        rows = [{**dataclasses.asdict(study), "path": str(study.path)} for study in found]
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if not found:
        click.echo("no studies found", err=True)
        return
    indent = " " * (max(len(study.name) for study in found) + 2)
    for study in found:
        head = study.name.ljust(len(indent)) + study.title
        click.echo(textwrap.fill(head, terminal_width(), subsequent_indent=indent))
        if study.question:
            text = textwrap.fill(
                study.question, terminal_width(), initial_indent=indent, subsequent_indent=indent
            )
            click.echo(text)
