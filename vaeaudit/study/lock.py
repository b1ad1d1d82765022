"""One writer per output folder: a lock that the system releases when its holder dies."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vaeaudit.core.errors import StoreBusyError
from vaeaudit.study.atomic import storage_error

LOCK_NAME = ".lock"


def _try_lock(file: IO[str]) -> bool:
    """Take the lock without waiting; False if another process holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside a ``with`` block.

    Raises
    ------
    StoreBusyError
        If another process (or another run in this process) holds it.
    StoreError
        If the folder cannot be written to or its file system has no locks.

    Notes
    -----
    The lock belongs to the open file, so that a killed holder leaves none behind. The file stays; it
    says who held the lock last.
    """
    path = folder / LOCK_NAME
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closed below
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        try:
            locked = _try_lock(file)
        except OSError as error:
            raise storage_error(path, error) from error
        if not locked:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StoreBusyError(
                f"another process is writing to {folder} (process {holder}). Wait for it or stop it, or "
                "choose another folder with --output."
            )
        with contextlib.suppress(OSError):  # the name of the holder is a courtesy
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
        yield
    finally:
        file.close()
