"""The ``vaeaudit`` command: light on purpose, each command imports what it needs when it runs."""

from __future__ import annotations

import difflib
import importlib

import click

import vaeaudit
from vaeaudit.study.console import debug_option, execute

# command → module with an attribute `command`
COMMANDS = {
    "list": "vaeaudit.cli.listing",
    "run": "vaeaudit.cli.run",
    "check": "vaeaudit.cli.check",
    "audit": "vaeaudit.cli.audit",
    "report": "vaeaudit.cli.report",
    "doctor": "vaeaudit.cli.doctor",
    "completion": "vaeaudit.cli.completion",
}


class _Commands(click.Group):
    """Loads a command's module on use and suggests close names for a mistyped one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        return importlib.import_module(module).command if module else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, COMMANDS, n=2, cutoff=0.5)
            hint = f" Did you mean {' or '.join(repr(word) for word in close)}?" if close else ""
            ctx.fail(f"no command {name!r}.{hint} Commands: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "VAEAUDIT"},
)
@click.version_option(vaeaudit.__version__, prog_name="vaeaudit")
@debug_option
def command() -> None:
    """What does a VAE's training objective actually optimise?

    Results go to stdout, progress to stderr. Exit codes: 0 fine, 1 failure, 2 wrong usage, 3 an audit
    threshold was not met, 130 interrupted. Every option can be set by VAEAUDIT_<COMMAND>_<OPTION>.
    """


def main() -> None:
    """Entry point of the ``vaeaudit`` script and of ``python -m vaeaudit``."""
    execute(command, prog_name="vaeaudit")
