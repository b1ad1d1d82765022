"""``vaeaudit doctor``: is everything in place?"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

import vaeaudit
from vaeaudit.core.errors import VaeauditError
from vaeaudit.study.console import FAILURE, debug_option
from vaeaudit.study.options import data_dir_option


@dataclass(frozen=True)
class Check:
    """One line of the examination."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def _python() -> Check:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("python", ok, platform.python_version(), "" if ok else "Use Python 3.11, 3.12 or 3.13.")


def _jax() -> Check:
    try:
        import jax

        from vaeaudit.core.devices import configure_devices

        configure_devices()  # as `run` and `audit` do
        devices = jax.devices()
    except (ImportError, RuntimeError) as error:  # a broken install or a backend that does not start
        return Check("jax", False, str(error), "Reinstall with: pip install --force-reinstall vaeaudit")
    kinds = f"{len(devices)} × {devices[0].device_kind}"
    return Check("jax", True, f"{jax.__version__}, backend {jax.default_backend()}, devices: {kinds}")


def _float64() -> Check:
    import jax

    flag = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    return Check("default precision", True, "float64" if flag else "float32")


def _writable(name: str, folder: Path) -> Check:
    """Write a file in the folder, or in its nearest parent that exists."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return Check(name, True, f"{folder} can be written")
    except OSError as error:
        return Check(
            name, False, f"{folder}: {error.strerror}", "Choose another folder, or change its permissions."
        )


def _output() -> Check:
    return _writable("output folder", Path.cwd() / "reports")


def _cache() -> Check:
    from vaeaudit.core.devices import cache_folder

    return _writable("data cache", cache_folder())


def _compilation_cache() -> Check:
    import jax

    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return _writable("compilation cache", Path(folder)) if folder else Check("compilation cache", True, "off")


def _data() -> Check:
    from vaeaudit.data.registry import load_data

    try:
        digits = load_data("digits", form="binary")
    except VaeauditError as error:
        return Check("data", False, str(error), "Reinstall scikit-learn, which holds the digits.")
    return Check("data", True, f"digits: {len(digits.train)} training images")


def _pages() -> Check:
    """Render a small page to HTML and PDF."""
    import pandas as pd

    from vaeaudit.report import write
    from vaeaudit.report.page import Math, Page, Section, Table

    table = Table("t", "A table", pd.DataFrame({"quantity": ["rate"], "value": [1.5]}))
    page = Page("doctor", "Doctor", "?", "Fine.", [], [Section("One", [Math(r"x^2"), table])])
    with tempfile.TemporaryDirectory() as folder:
        try:
            paths = write(page, folder)
            sizes = [path.stat().st_size for path in (paths.html, paths.pdf) if path]
        except (VaeauditError, ImportError, OSError) as error:
            return Check(
                "HTML and PDF", False, str(error), "Reinstall with: pip install --force-reinstall typst"
            )
    return Check("HTML and PDF", len(sizes) == 2 and all(sizes), "a page with a formula and a table renders")


def _studies() -> Check:
    from vaeaudit.study.find import list_studies, studies_folder

    found = list_studies()
    remedy = "" if found else "Reinstall: the studies are part of the package."
    return Check("studies", bool(found), f"{len(found)} in {studies_folder()}", remedy)


CHECKS: tuple[Callable[[], Check], ...] = (
    _python,
    _jax,
    _float64,
    _output,
    _cache,
    _compilation_cache,
    _data,
    _studies,
    _pages,
)


@click.command("doctor")
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@debug_option
def command(as_json: bool) -> None:
    """Examine the installation; exit 1 on a problem.

    Looks at Python, JAX and its devices, folders, data, studies, and renders a small report.
    """
    checks = [Check("vaeaudit", True, vaeaudit.__version__)]
    for examine in CHECKS:
        checks.append(examine())
        if sys.stderr.isatty():
            click.echo(f"examined {checks[-1].name}", err=True)
    bad = [check for check in checks if not check.ok]
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(f"{'ok     ' if check.ok else 'PROBLEM'}  {check.name.ljust(width)}  {check.found}")
            if check.remedy:
                click.echo(f"         {' ' * width}  {check.remedy}")
        click.echo(f"{len(bad)} problem{'s' if len(bad) != 1 else ''}" if bad else "everything is in place")
    if bad:
        raise click.exceptions.Exit(FAILURE)
