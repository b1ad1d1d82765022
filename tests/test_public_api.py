"""Public names resolve, and neither importing the package nor asking for help loads heavy packages."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vaeaudit as va

HEAVY = ("jax", "pandas", "numpy", "scipy", "matplotlib", "equinox", "numpyro", "typst", "sklearn")
ROOT = Path(__file__).parents[1]


def loaded_after(code):
    """Heavy packages in a fresh interpreter after some code."""
    probe = f"{code}\nimport sys, json\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", va.__all__)
def test_every_public_name_resolves(name):
    assert getattr(va, name) is not None


def test_public_names_are_listed_and_unknown_ones_are_errors():
    assert set(va.__all__) <= set(dir(va))
    assert len(set(va.__all__)) == len(va.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'elbow'"):
        va.elbow  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import vaeaudit") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["audit", "--help"],
        ["check", "--help"],
        ["list"],
        ["lst"],
    ],
)
def test_help_and_list_load_nothing_heavy(arguments):
    code = (
        "import sys\nfrom vaeaudit.cli.main import main\n"
        f"sys.argv = ['vaeaudit', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_after(code) == []


def test_help_is_fast():
    """Processor time of the fastest of three: other work on the machine must not decide a test."""
    words = [sys.executable, "-m", "vaeaudit", "--help"]
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run(words, capture_output=True, check=True)
        after = os.times()
        spent.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert min(spent) < 0.15, f"vaeaudit --help took {min(spent):.3f} s of processor time"


def test_every_module_can_be_imported():
    for module in pkgutil.walk_packages(va.__path__, "vaeaudit."):
        if not module.name.startswith("vaeaudit._studies") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_the_version_is_a_literal():
    assert f'__version__ = "{va.__version__}"' in (ROOT / "vaeaudit" / "__init__.py").read_text()


def test_data_flow_one_way():
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is a development tool")
    here = os.getcwd()
    try:
        os.chdir(ROOT)
        kept = linter.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
        assert kept == linter.EXIT_STATUS_SUCCESS
    finally:
        os.chdir(here)
