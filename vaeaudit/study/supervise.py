"""A distributed run in a child process, so that even an abort inside JAX ends with a named error.

Where the coordinating process dies, JAX aborts the others from C++, past every Python handler. The parent
here holds no JAX: it sees how the child ended and in which step.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vaeaudit.core.cluster import DONE, JOINING, STEP_FILE, Place, find_place
from vaeaudit.core.errors import ProcessError

CHILD = "VAEAUDIT_SUPERVISED"
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")
}  # errors of JAX's C++ parts only
STOPPED = 128  # plus the signal: exit code of a run that was told to stop


def place_of(options: Mapping[str, Any]) -> Place | None:
    """Place of this process in the run that the options of ``vaeaudit run`` describe; None for a run alone.

    The first call of a distributed run repeats this process's own command in a child and leaves with its exit
    code; calls in the child return.

    Raises
    ------
    click.UsageError
        If the options contradict each other or the launcher, or something is missing.

    Notes
    -----
    Signals are passed on; the child ends when its parent dies. Where the command line is not that of this
    process (a call from Python), the run goes on unsupervised.
    """
    given = {name: options[name] for name in ("coordinator", "num_processes", "process_id")}
    if not options["distributed"]:
        for name, value in given.items():
            if value is not None:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} is for --distributed, which is not given."
                )
        return None
    try:
        place = find_place(**given)
    except ProcessError as error:
        raise click.UsageError(str(error)) from error
    if os.environ.get(CHILD):
        _end_with_parent()
    else:
        _supervise(place)
    return place


def _supervise(place: Place) -> None:
    """Run the command again as a child, say how it ended if by a signal, and leave."""
    arguments = sys.argv[1:]
    if not arguments or sys.orig_argv[-len(arguments) :] != arguments:
        return
    with tempfile.TemporaryDirectory(prefix="vaeaudit-") as folder:
        step = Path(folder) / "step"
        code = _run([sys.executable, *sys.orig_argv[1:]], {CHILD: "1", STEP_FILE: str(step)} | QUIET)
        last = step.read_text(encoding="utf-8") if step.exists() else JOINING
    if code == -signal.SIGABRT and last == DONE:
        code = 0  # process 0 left first, with everything done
    if code < 0:
        click.echo(f"error: {_how_it_ended(place, -code, last)}", err=True)
        code = STOPPED - code if -code in (signal.SIGTERM, signal.SIGINT) else 1
    raise click.exceptions.Exit(code)


def _how_it_ended(place: Place, number: int, step: str) -> str:
    """What a user needs to know of a child that a signal ended."""
    aborted = number == signal.SIGABRT
    if aborted and step == JOINING:
        return (
            f"{place} waited in vain for the others: not all {place.num_processes} reached process 0 in time "
            f"({place.coordinator or 'at the address that ' + place.launcher + ' gives'}). Check that each runs, "
            "with a --process-id of its own, and see --process-timeout."
        )
    cause = (
        "JAX ends a process so when process 0, which coordinates, no longer answers: look at its messages"
        if aborted
        else "if nobody stopped it, the system did, most often for want of memory"
    )
    return (
        f"{place} was ended by {signal.Signals(number).name} in step {step!r} ({cause}). Finished cells are "
        "kept: start all processes again to go on."
    )


def _run(words: list[str], variables: dict[str, str]) -> int:
    """Exit code of the command, negative for a signal; signals to this process go to it."""
    own_group: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}
    child = subprocess.Popen(  # noqa: S603  the command of this process itself
        words, env={**os.environ, **variables}, stdin=subprocess.PIPE, **own_group
    )
    passed = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, lambda n, frame: child.send_signal(n)) for number in passed}
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@functools.cache
def _end_with_parent() -> None:
    """End this process at once when its parent is gone: then nobody would wait for it."""

    def watch() -> None:
        if not os.read(0, 1):
            os._exit(1)

    threading.Thread(target=watch, name="vaeaudit-parent", daemon=True).start()
