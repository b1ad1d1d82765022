"""Find a data set's files in the user's folders, or fetch them whole and checked."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from vaeaudit.core.errors import ChecksumError, DataCorruptError, DataError, DataMissingError

Folder = str | PathLike[str] | None


def cache_dir() -> Path:
    """Folder for downloaded data sets: ``data`` in the user's cache folder or in ``VAEAUDIT_CACHE_DIR``."""
    from vaeaudit.core.devices import cache_folder

    return cache_folder() / "data"


def search_folders(data_dir: Folder) -> list[Path]:
    """Folders to look in: ``data_dir``, then ``VAEAUDIT_DATA_DIR``, then the cache.

    Raises
    ------
    DataMissingError
        If a folder that was named does not exist.
    """
    folders = []
    for origin, value in (("data_dir", data_dir), ("VAEAUDIT_DATA_DIR", os.environ.get("VAEAUDIT_DATA_DIR"))):
        if not value:
            continue
        folder = Path(value).expanduser()
        if not folder.is_dir():
            raise DataMissingError(
                f"`{origin}` names the folder {folder}, which does not exist. Create it, correct the path, "
                f"or leave `{origin}` out to use the cache {cache_dir()}."
            )
        folders.append(folder)
    return [*folders, cache_dir()]


def find_file(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first of ``folders`` × ``names`` that is a file."""
    return next((f / n for f in folders for n in names if (f / n).is_file()), None)


def read_content(path: Path) -> bytes:
    """A file's bytes, decompressed where its name ends in .gz.

    Raises
    ------
    DataCorruptError
        If it is not a whole gzip file.
    """
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataCorruptError(
            f"{path} is not a whole gzip file ({error}): probably an interrupted download or an error "
            "page saved under this name. Delete it and fetch it again."
        ) from error


def check_sha256(what: str, content: bytes, expected: str) -> None:
    """Raise `ChecksumError` unless ``content`` has the published hash."""
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ChecksumError(
            f"{what} has sha256 {found}; expected {expected}. It is another version of the data, or it "
            "was damaged. Delete it and fetch the published file again."
        )


def fetch(
    urls: Sequence[str],
    name: str,
    verify: Callable[[Path], None],
    *,
    by_hand: str,
    download: bool = True,
    folder: Path | None = None,
) -> Path:
    """Download ``name`` from the first mirror that gives a file which passes ``verify``.

    The file is written under a temporary name in the same folder and moved into place once it has
    been verified, so that a half-written or wrong file never bears the name.

    Parameters
    ----------
    urls
        Mirrors, in order of preference.
    name
        Path of the file within the folder.
    verify
        Raises a `DataError` if the downloaded file is not what it must be.
    by_hand
        How the user can supply the file without this download; ends the error message.
    download
        Whether the network may be used.
    folder
        Where to put it; the cache by default.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataMissingError
        If no mirror could be reached, or ``download`` is false.
    ChecksumError, DataCorruptError
        If mirrors answered, but only with wrong files.
    """
    target = (cache_dir() if folder is None else folder) / name
    if not download:
        raise DataMissingError(f"{target.name} is not at hand and download=False. {by_hand}")
    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel(logging.WARNING)
    target.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    wrong: DataError | None = None
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as scratch:
        for url in urls:
            try:
                path = Path(pooch.retrieve(url, known_hash=None, fname=target.name, path=scratch))
                verify(path)
            except DataError as error:
                wrong = error
                failures.append(f"{url}: {error}")
                (Path(scratch) / target.name).unlink(missing_ok=True)
                continue
            except (RequestException, OSError, ValueError) as error:
                failures.append(f"{url}: {_reason(error)}")
                continue
            os.replace(path, target)
            return target
    tried = "\n  ".join(failures)
    kind = DataMissingError if wrong is None else type(wrong)
    raise kind(f"{target.name} could not be fetched. Tried:\n  {tried}\n{by_hand}")


def _reason(error: Exception) -> str:
    """What a failed request was, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    text = str(error)
    return f"{type(error).__name__}" + (f": {text}" if text and len(text) < 80 else "")
