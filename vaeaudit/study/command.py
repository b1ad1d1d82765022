"""What ``vaeaudit run NAME`` and a study's own script do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeaudit.study.console import INTERRUPT, Progress, terminal_width
from vaeaudit.study.options import run_options
from vaeaudit.study.provenance import command_line

if TYPE_CHECKING:
    from vaeaudit.core.cluster import Place
    from vaeaudit.study.runner import Plan, RunResult
    from vaeaudit.study.study import Study


def script_command(study: Study) -> click.Command:
    """Build the click command of one study, for its script."""

    @click.command(name="run", help=f"{study.title}\n\n{study.question}")
    @run_options
    def run(**options: Any) -> None:
        perform(study, **options)

    return run


def perform(
    study: Study,
    *,
    preset: str,
    output: Path | None,
    seeds: int | None,
    settings: dict[str, Any],
    as_json: bool,
    dry_run: bool = False,
    fresh: bool = False,
    no_report: bool = False,
    compute: bool = True,
    process_timeout: float = 120.0,
    **many: Any,
) -> None:
    """Run a study from the command line: result on stdout, progress on stderr."""
    from vaeaudit.core.errors import StoreError
    from vaeaudit.study.kinds import check_kinds
    from vaeaudit.study.runner import plan_study, resolve_settings, run_study
    from vaeaudit.study.supervise import place_of

    folder = Path("reports") / study.name if output is None else output
    if not compute and not folder.is_dir():
        raise StoreError(
            f"no run of {study.name!r} in {folder}: no such folder. Name the folder of a run with --output, or "
            f"compute it first: vaeaudit run {study.name} --preset {preset}"
        )
    overrides = dict(settings)
    known = resolve_settings(study, preset)
    check_kinds(known, overrides)
    if seeds is not None:
        now = known.get("seeds")
        if now is None:
            raise click.UsageError(f"study {study.name!r} has no seeds to set.")
        overrides["seeds"] = list(range(seeds)) if isinstance(now, list | tuple) else seeds
    place = place_of(many) if many else None
    if dry_run:
        show_plan(study, preset, folder, plan_study(study, preset, folder, overrides), as_json=as_json)
        return
    if compute:
        from vaeaudit.core.devices import configure_devices

        configure_devices()  # before anything starts JAX's backend
    begin = partial(
        run_study,
        study,
        preset,
        folder,
        overrides=overrides,
        fresh=fresh,
        compute=compute,
        report=not no_report,
        on_event=Progress(),
    )
    try:
        result = (
            begin() if place is None else _together(place, process_timeout, begin, study, preset, overrides)
        )
    except KeyboardInterrupt:
        click.echo("\ninterrupted: finished cells are kept. This command goes on from there:", err=True)
        click.echo(f"  {command_line()}", err=True)
        raise click.exceptions.Exit(INTERRUPT) from None
    if result is not None:
        show_result(study, preset, result, as_json=as_json)


def _together(
    place: Place,
    timeout: float,
    begin: Callable[[], RunResult],
    study: Study,
    preset: str,
    overrides: Mapping[str, Any],
) -> RunResult | None:
    """Run with other processes; the result in the first of them, None in the others."""
    from vaeaudit.core import processes
    from vaeaudit.study.runner import follow_study
    from vaeaudit.study.together import joined

    with joined(place, timeout):
        if processes.is_first():
            return begin()
        follow_study(study, preset, overrides)
    return None


def show_plan(study: Study, preset: str, folder: Path, plan: Plan, *, as_json: bool) -> None:
    """Print the cells of a run and which of them are finished."""
    done = sum(plan.finished.values())
    if as_json:
        cells = [
            {"key": key, "hash": plan.hashes[key], "finished": plan.finished[key]} for key in plan.hashes
        ]
        document = {"study": study.name, "preset": preset, "folder": str(folder), "cells": cells}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"{study.name} ({preset}) into {folder}: {len(plan.cells)} cells, {done} finished")
    for key, finished in plan.finished.items():
        click.echo(f"  {'finished' if finished else 'to do   '}  {key}")
    click.echo("settings: " + ", ".join(f"{key}={value}" for key, value in plan.settings.items()))


def show_result(study: Study, preset: str, result: RunResult, *, as_json: bool) -> None:
    """Print the short table and, as the last lines, the paths of the report."""
    from vaeaudit import tables
    from vaeaudit.tables.rows import json_rows

    paths = [path for path in (result.html, result.pdf) if path] or [result.results_json]
    if as_json:
        document = {
            "study": study.name,
            "preset": preset,
            "folder": str(result.folder),
            "verdict": result.verdict,
            "computed": result.computed,
            "reused": result.reused,
            "seconds": round(result.seconds, 3),
            "summary": json_rows(result.summary),
            "tables": [str(path) for path in result.tables],
            "results": str(result.results_json),
            "html": str(result.html) if result.html else None,
            "pdf": str(result.pdf) if result.pdf else None,
        }
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    click.echo(tables.render(result.summary, width=terminal_width()))
    click.echo()
    click.echo(result.verdict)
    click.echo()
    for path in paths:
        click.echo(shlex.quote(str(path)) if " " in str(path) else str(path))
