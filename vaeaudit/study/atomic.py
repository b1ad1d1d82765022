"""Files of an output folder: written whole or not at all, with errors that say what stays."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from pathlib import Path

from vaeaudit.core.errors import StoreError
from vaeaudit.core.files import TEMPORARY, write_atomically

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


def make_folder(folder: Path) -> Path:
    """Create a folder with its parents; `StoreError` names what is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    return folder


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file atomically and durably; return its sha256.

    Raises
    ------
    StoreError
        If the disk is full, the folder read-only, or similar; nothing half-written stays behind.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise storage_error(path, error) from error
    return sha256_bytes(content)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of writers that were killed; call only while holding the lock."""
    for path in folder.rglob(TEMPORARY + "*"):
        with contextlib.suppress(OSError):
            path.unlink()
