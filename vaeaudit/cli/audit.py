"""``vaeaudit audit FILE.py:factory``: examine a VAE that was trained elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from vaeaudit.study.console import INTERRUPT, THRESHOLD, debug_option, terminal_width
from vaeaudit.study.options import config_option, data_dir_option


@click.command(
    "audit",
    epilog="""\b
Examples:
  vaeaudit audit mymodel.py:build --data digits
  vaeaudit audit mymodel.py:build --data held_out.npz:images --form grey
  vaeaudit audit mymodel.py:build --data mnist --fail-under log_evidence=-95""",
)
@click.argument("model", metavar="FILE.py:FACTORY")
@click.option(
    "--data", metavar="NAME|FILE.npz[:ARRAY]", help="Data set or archive; optional if the factory brings x."
)
@click.option("--form", help="Form of the data, e.g. binary, grey, real.")
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Part of a named data set.",
)
@click.option("--num-data", type=click.IntRange(min=2), help="Use only the first data.")
@click.option(
    "--preset",
    type=click.Choice(["quick", "standard", "thorough"]),
    default="standard",
    show_default=True,
    help="Draws per datum.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all draws.")
@click.option(
    "--target",
    type=click.Choice(["population", "data"]),
    default="population",
    show_default=True,
    help="What intervals cover: the mean over the population, or over these data.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    envvar=["VAEAUDIT_AUDIT_OUTPUT", "VAEAUDIT_OUTPUT"],
    metavar="DIR",
    help="Output folder.  [default: reports/audit-FACTORY]",
)
@click.option(
    "--fail-under",
    multiple=True,
    metavar="QUANTITY=NUMBER",
    help="Exit 3 unless the quantity's whole interval is at least this.",
)
@click.option(
    "--fail-over",
    multiple=True,
    metavar="QUANTITY=NUMBER",
    help="Exit 3 unless the quantity's whole interval is at most this.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["unreliable", "warn"]),
    help="Exit 3 on a finding of this level, or a graver one.",
)
@data_dir_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print results.json.")
@debug_option
def command(
    model: str,
    data: str | None,
    form: str | None,
    split: str,
    num_data: int | None,
    preset: str,
    seed: int,
    target: str,
    output: Path | None,
    fail_under: tuple[str, ...],
    fail_over: tuple[str, ...],
    fail_on: str | None,
    as_json: bool,
) -> None:
    """Measure a VAE on data and write a report.

    FACTORY is a function in FILE.py without arguments that returns a VAE made with vaeaudit.vae(...) or
    vaeaudit.from_decoder(...), or a pair (VAE, x).
    """
    import dataclasses

    from vaeaudit import tables
    from vaeaudit.auditing import audit
    from vaeaudit.auditing.source import load_audit_data, load_factory
    from vaeaudit.auditing.thresholds import parse, unmet
    from vaeaudit.core.devices import configure_devices
    from vaeaudit.study.provenance import command_line, environment

    limits = [parse(text, floor=True) for text in fail_under] + [
        parse(text, floor=False) for text in fail_over
    ]
    configure_devices()  # before anything starts JAX's backend
    built, x = load_factory(model)
    where = {"data": "from the factory"}
    if data is not None:
        x, where = load_audit_data(data, form=form, split=split, data_dir=os.environ.get("VAEAUDIT_DATA_DIR"))
    elif x is None:
        raise click.UsageError(f"{model} brings no data: name some with --data.")
    x = x[:num_data]
    name = model.rpartition(":")[2]
    folder = Path("reports") / f"audit-{name}" if output is None else output
    click.echo(f"auditing {model} on {len(x)} data, preset {preset}; compiling…", err=True)
    try:
        result = audit(built, x, seed, preset, target=target, name=name)  # type: ignore[arg-type]
        provenance = {"command": command_line(), "model": model, "seed": seed, **where, **environment()}
        result = dataclasses.replace(result, provenance=provenance)
        click.echo("writing the report …", err=True)
        paths = result.save(folder)
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted. To start again:\n  {command_line()}", err=True)
        raise click.exceptions.Exit(INTERRUPT) from None
    if as_json:
        click.echo(json.dumps(result.results(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        shown = ["quantity", "value", "lower", "upper", "unit", "verdict"]
        click.echo(tables.render(result.table, columns=shown, width=terminal_width()))
        click.echo(f"\n{result.verdict}\n")
        for finding in result.findings:
            click.echo(f"{finding.level}: {finding.what}")
        click.echo()
        for path in (paths.html, paths.pdf):
            if path is not None:
                click.echo(str(path))
    reasons = unmet(result.table, limits)
    levels = {"unreliable": ("unreliable",), "warn": ("unreliable", "warn"), None: ()}[fail_on]
    reasons += [f"{f.level} finding: {f.what}" for f in result.findings if f.level in levels]
    for reason in reasons:
        click.echo(f"not met: {reason}", err=True)
    if reasons:
        raise click.exceptions.Exit(THRESHOLD)
