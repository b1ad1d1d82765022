"""Several processes, on one host or many, as one: work shared out, every process with every result.

All processes run the same program in the same order. What is worth it (runs of a sweep, batches of data) goes
through `spread`, of which each process computes its share on its own devices; nothing else is communicated.
Until `start` there is one process and `spread` is a loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vaeaudit.core import errors
from vaeaudit.core.cluster import JOINING, Place
from vaeaudit.core.errors import ProcessError, VaeauditError
from vaeaudit.core.wire import pack, unpack

if TYPE_CHECKING:
    from vaeaudit.core.team import Team  # loads JAX, which a run without it must not

TIMEOUT = 120.0  # seconds without a sign of life after which a process counts as dead

_team: Team | None = None
_in_share = False  # inside work that this process does alone


def start(place: Place, timeout: float = TIMEOUT) -> None:
    """Join the other processes through JAX's multi-process runtime.

    Parameters
    ----------
    place
        Which process this is, from `vaeaudit.core.cluster.find_place`.
    timeout
        Seconds to wait for the others at the start, and without a sign of life later.

    Raises
    ------
    ProcessError
        If the coordinator does not answer, its port is taken, or JAX has started its backend already.

    Notes
    -----
    Call it before anything computes with JAX. ``jax.devices()`` then lists the devices of all processes;
    arrays of this package stay on ``jax.local_devices()``. No collective runs between devices of different
    processes, so that the devices need no network among them.
    """
    global _team
    import jax

    from vaeaudit.core.coordination import check_port, coordination_client, reach
    from vaeaudit.core.team import Team, note_step

    if _team is not None:
        raise ProcessError("the processes of this run have joined already; `start` is called once.")
    note_step(JOINING)
    if place.coordinator is not None:
        if place.process_id == 0:
            check_port(place.coordinator, place)
        else:
            reach(place.coordinator, timeout, place)
    # a process that dies is found by `Team`, which names the step; JAX would abort all others
    if hasattr(jax.config, "jax_enable_recoverability"):
        jax.config.update("jax_enable_recoverability", True)
    seconds = max(1, round(timeout))
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.num_processes,
            place.process_id,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=max(10, seconds),
            shutdown_timeout_seconds=min(seconds, 30),
        )
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f"{place} cannot join the others at {place.coordinator or 'the launcher’s address'} within "
            f"{timeout:g} s: {str(error).partition(chr(10))[0]}. Check that all processes run, that the port is "
            "free on the first one's host, and that the others can reach it."
        ) from error
    _team = Team(coordination_client(), place, timeout)
    jax.local_devices()  # the backend starts here, in all processes at once


def finish() -> None:
    """Meet the others a last time; afterwards this process is alone."""
    global _team
    if _team is not None:
        import jax

        _team.exchange("the end", b"")
        _team.part()
        _team = None
        jax.distributed.shutdown()


def fail(reason: str, *, echo: bool = False) -> None:
    """Tell the others why this process ends early, so that they end too and can say why.

    ``echo`` marks a reason that itself comes from another process, whose own words are then preferred.
    """
    global _team
    if _team is not None:
        _team.leave(reason, echo=echo)
        _team = None


@contextmanager
def alone() -> Iterator[None]:
    """Within the block `spread` shares nothing out: for what one process does by itself."""
    global _in_share
    before, _in_share = _in_share, True
    try:
        yield
    finally:
        _in_share = before


def is_first() -> bool:
    """Whether this process writes: the only one, or process 0."""
    return _team is None or _team.place.process_id == 0


def num_processes() -> int:
    """Processes of this run."""
    return 1 if _team is None else _team.place.num_processes


def set_context(context: str) -> None:
    """Name what the next steps belong to, for messages."""
    if _team is not None:
        _team.context = context
        _team.step = ""


def from_first(label: str, tree: Any = None) -> Any:
    """The tree that process 0 gives, in every process; a meeting point of all."""
    if _team is None:
        return tree
    return unpack(_team.exchange(label, pack(tree) if is_first() else b"")[0])


def agree(label: str, tree: Any) -> None:
    """Raise `ProcessError` where another process has another tree."""
    if _team is None:
        return
    mine = pack(tree)
    for process, theirs in enumerate(_team.exchange(label, mine)):
        if theirs != mine:
            raise ProcessError(
                f"process {process} differs from {_team.place} in {label}: {_difference(unpack(mine), unpack(theirs))}. "
                "Start all with the same command, versions, settings and data."
            )


def _difference(mine: Any, theirs: Any) -> str:
    """The first entry in which two trees differ."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in [*mine, *theirs]:
            if str(mine.get(key)) != str(theirs.get(key)):
                return f"{key} is {mine.get(key)!r} here and {theirs.get(key)!r} there"
    return f"{mine!r} here and {theirs!r} there"


def divided(count: int) -> bool:
    """Whether `spread` would share out ``count`` pieces of work here and now."""
    alone = _team is None or _team.place.num_processes == 1
    return not (alone or count < 2 or _in_share or threading.current_thread() is not threading.main_thread())


def spread(
    work: Callable[[int], Any],
    count: int,
    label: str,
    *,
    run: Callable[[Callable[[int], Any], int], Sequence[Any]] | None = None,
) -> list[Any]:
    """``[work(0), …, work(count − 1)]``, each computed by one process and known to all.

    Parameters
    ----------
    work
        Gives a tree that `vaeaudit.core.wire.pack` takes; its value must not depend on who computes it.
    count
        Pieces of work; process p takes p, p + P, ….
    label
        The step, for messages.
    run
        How a process runs its share, ``run(function, number)`` with ``function(i)`` for i below ``number``,
        e.g. in threads; a loop if omitted.

    Returns
    -------
    list

    Raises
    ------
    VaeauditError
        That of a piece that failed, in every process.
    ProcessError
        If another process fails otherwise, dies, or is at another step.

    Notes
    -----
    A single process, a thread other than the main one, and work inside work compute everything themselves.
    """
    run = run or (lambda function, number: [function(i) for i in range(number)])
    if _team is None or not divided(count):
        return list(run(work, count))
    place, label = _team.place, f"{label} ({count})"
    mine = range(place.process_id, count, place.num_processes)
    failure: VaeauditError | None = None
    _team.step = label
    try:
        with alone():
            share: dict[str, Any] = {"done": list(run(lambda i: work(mine[i]), len(mine)))}
    except VaeauditError as error:
        failure, share = error, {"error": type(error).__name__, "message": str(error)}
    results: list[Any] = [None] * count
    for process, content in enumerate(_team.exchange(label, pack(share))):
        theirs = unpack(content)
        if "error" in theirs:
            if failure is not None and process == place.process_id:
                raise failure
            raise getattr(errors, theirs["error"], ProcessError)(theirs["message"])
        results[process :: place.num_processes] = theirs["done"]
    return results
