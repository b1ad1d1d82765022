"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
from pathlib import Path

from vaeaudit.core.errors import StoreError

TEMPORARY = ".tmp-"  # prefix of files in the making; safe to delete when nobody writes
_RENDERED = re.compile(r"\..+\.(csv|json|html|pdf|svg|png)\.[a-z0-9_]{8}")  # those of `vaeaudit.tables.files`

_CAUSES = {
    errno.ENOSPC: "no space left on the device. Free some space, or choose another folder with --output",
    errno.EDQUOT: "the disk quota is used up. Free some space, or choose another folder with --output",
    errno.EFBIG: "the file would pass the limit on file sizes (see `ulimit -f`)",
    errno.EROFS: "the file system is read-only. Choose another folder with --output",
    errno.EACCES: "permission denied. Choose a folder you may write to with --output",
    errno.EPERM: "permission denied. Choose a folder you may write to with --output",
    errno.ENOTDIR: "a part of this path is a file, not a folder. Choose another folder with --output",
    errno.EEXIST: "a file is in the place of a folder. Choose another folder with --output",
}


def storage_error(path: Path, error: OSError) -> StoreError:
    """Say which path could not be written, why, and what stays."""
    cause = _CAUSES.get(error.errno or 0, error.strerror or str(error))
    return StoreError(
        f"cannot write {path}: {cause}. Everything finished before is kept; run again to go on."
    )


def sha256_bytes(content: bytes) -> str:
    """Hexadecimal sha256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable, where the platform can (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """Create a folder with its parents; `StoreError` names what is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    return folder


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file atomically and durably; return its sha256.

    A temporary file in the same folder is written, synced and renamed over ``path``, and the folder
    is synced: after a crash at any instant ``path`` holds the old content or the new one.

    Raises
    ------
    StoreError
        If the disk is full, the folder read-only, or similar; nothing half-written stays behind.
    """
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
        name = ""
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)
    return sha256_bytes(content)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of writers that were killed; call only while holding the lock."""
    for path in folder.rglob(".*"):
        if path.name.startswith(TEMPORARY) or _RENDERED.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()
