"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from vaeaudit.core.errors import StoreError


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write ``content`` to ``path`` atomically: temporary file in the same folder, fsync, rename.

    Raises
    ------
    StoreError
        If the folder cannot be made or the file cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {target.name!r} in folder {str(target.parent)!r}: {error.strerror or error}. "
            "Give a folder that exists or can be made, with write permission and free space."
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, target)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise StoreError(
                f"cannot write {str(target)!r}: {error.strerror or error}. "
                "Check permissions and free space; nothing was changed."
            ) from error
        raise
    return target


def write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Write text as UTF-8 with LF line ends, atomically."""
    return write_bytes(path, content.encode("utf-8"))
