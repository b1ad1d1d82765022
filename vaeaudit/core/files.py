"""A file is written whole or not at all, whoever writes it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

TEMPORARY = ".tmp-"  # prefix of files in the making; safe to delete when nobody writes


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically and durably.

    A temporary file in the same folder is written, synced and renamed over ``path``, and the folder
    is synced: after a crash at any instant ``path`` holds the old content or the new one.

    Raises
    ------
    OSError
        If the disk is full, the folder read-only, or similar; nothing half-written stays behind.
    """
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes it private
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable, where the platform can (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
