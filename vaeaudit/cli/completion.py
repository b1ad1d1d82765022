"""``vaeaudit completion SHELL``: tab completion for the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    "completion",
    epilog="""\b
bash:  eval "$(vaeaudit completion bash)"
zsh:   eval "$(vaeaudit completion zsh)"
fish:  vaeaudit completion fish | source""",
)
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    from vaeaudit.cli.main import command as root

    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"no completion for {shell}.")
    click.echo(completer(root, {}, "vaeaudit", "_VAEAUDIT_COMPLETE").source())
