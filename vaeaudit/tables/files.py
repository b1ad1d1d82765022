"""Tables and pages as files: folders made, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from vaeaudit.core.errors import StoreError
from vaeaudit.core.files import write_atomically


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write ``content`` to ``path`` atomically.

    Raises
    ------
    StoreError
        If the folder cannot be made or the file cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content)
    except OSError as error:
        raise StoreError(
            f"cannot write {target.name!r} in folder {str(target.parent)!r}: {error.strerror or error}. Give a "
            "folder that exists or can be made, with write permission and free space; nothing was changed."
        ) from error
    return target


def write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Write text as UTF-8 with LF line ends, atomically."""
    return write_bytes(path, content.encode("utf-8"))
