"""Finished cells on disk: written whole or not at all, found again by the hash of their configuration."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vaeaudit
from vaeaudit.core.errors import ArgumentError, StoreError
from vaeaudit.study.atomic import make_folder, sha256_bytes, storage_error, write_bytes
from vaeaudit.study.frames import decode, encode
from vaeaudit.study.study import Cell, CellResult, Study

FORMAT = 1  # raised when the layout on disk changes
MANIFEST = "manifest.json"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


def plain(value: Any) -> Any:
    """JSON-able copy of a value: numpy scalars and arrays, tuples and mappings become plain ones."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ArgumentError(
        f"a configuration or record must be JSON-able; got {type(value).__name__}: {value!r}."
    )


def canonical_json(value: Any) -> str:
    """JSON text that depends on the value alone: sorted keys, no spaces, shortest floats."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def cell_hashes(study: Study, cells: list[Cell]) -> dict[str, str]:
    """Hash of each cell: study, its version, this package's version, configuration, and needed cells.

    Raises
    ------
    ArgumentError
        If two cells share a key, or a cell needs one that does not come before it.
    """
    hashes: dict[str, str] = {}
    for cell in cells:
        if cell.key in hashes:
            raise ArgumentError(f"study {study.name!r} plans two cells with the key {cell.key!r}.")
        unknown = [key for key in cell.needs if key not in hashes]
        if unknown:
            raise ArgumentError(
                f"cell {cell.key!r} of study {study.name!r} needs {unknown}, which no earlier cell provides. "
                "List needed cells first in `plan`."
            )
        identity = [
            FORMAT,
            vaeaudit.__version__,
            study.name,
            study.version,
            cell.key,
            cell.config,
            {key: hashes[key] for key in cell.needs},
        ]
        hashes[cell.key] = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    return hashes


@dataclass(frozen=True)
class Stored:
    """A finished cell as it was read back."""

    result: CellResult
    seconds: float
    environment: dict[str, Any]


class CellStore:
    """The finished cells under ``folder``.

    Each cell has a folder of its own: CSV frames, ``arrays.npz``, ``record.json``, and last the
    manifest with the sha256 of each. A cell is finished when its manifest is there and every file
    agrees with it; anything else is computed again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str, digest: str) -> Path:
        """Folder of a cell."""
        slug = re.sub(r"[^A-Za-z0-9.\-]+", "_", key).strip("_.")[:60] or "cell"
        return self.folder / f"{slug}-{digest[:16]}"

    def save(
        self,
        key: str,
        digest: str,
        result: CellResult,
        *,
        seconds: float = 0.0,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a cell; the manifest comes last, so that a crash before leaves it unfinished.

        Raises
        ------
        StoreError
            If the files cannot be written.
        ArgumentError
            If the result holds something that cannot be stored exactly.
        """
        content: dict[str, bytes] = {}
        kinds: dict[str, dict[str, str]] = {}
        for name, frame in result.frames.items():
            _check_name(name)
            content[f"{name}.csv"], kinds[name] = encode(frame)
        if result.arrays:
            content["arrays.npz"] = _encode_arrays(result.arrays)
        content["record.json"] = (json.dumps(plain(result.record), indent=1) + "\n").encode()
        folder = make_folder(self.path(key, digest))
        manifest = {
            "key": key,
            "hash": digest,
            "sha256": {name: write_bytes(folder / name, data) for name, data in content.items()},
            "frames": kinds,
            "seconds": seconds,
            "environment": plain(environment or {}),
        }
        body = json.dumps(manifest, indent=1)
        sealed = json.dumps({"manifest": manifest, "sha256": sha256_bytes(body.encode())}, indent=1)
        write_bytes(folder / MANIFEST, sealed.encode())

    def load(self, key: str, digest: str) -> Stored | None:
        """Read a finished cell back; None if it is not there.

        Raises
        ------
        StoreError
            If it is there and damaged: a file is missing, cut or altered.
        """
        folder = self.path(key, digest)
        if not folder.is_dir() or not (folder / MANIFEST).exists():
            return None
        try:
            sealed = json.loads((folder / MANIFEST).read_bytes())
            manifest, seal = sealed["manifest"], sealed["sha256"]
            if sha256_bytes(json.dumps(manifest, indent=1).encode()) != seal or manifest["hash"] != digest:
                raise ValueError("its manifest was altered")
            content = {name: (folder / name).read_bytes() for name in manifest["sha256"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"the stored cell {folder} cannot be read: {error}.") from error
        for name, data in content.items():
            if sha256_bytes(data) != manifest["sha256"][name]:
                raise StoreError(f"the stored file {folder / name} differs from its recorded sha256.")
        frames = {name: decode(content[f"{name}.csv"], kinds) for name, kinds in manifest["frames"].items()}
        arrays: dict[str, np.ndarray] = {}
        if "arrays.npz" in content:
            with np.load(io.BytesIO(content["arrays.npz"]), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        record = json.loads(content["record.json"])
        return Stored(CellResult(frames, arrays, record), manifest["seconds"], manifest["environment"])

    def has(self, key: str, digest: str) -> bool:
        """Whether a manifest is there (its files are checked by `load`)."""
        return (self.path(key, digest) / MANIFEST).is_file()

    def scratch(self, key: str, digest: str) -> Path:
        """Folder, not yet made, where a cell's computation may keep what it wants to find again."""
        return self.path(key, digest) / "scratch"

    def clear_scratch(self, key: str, digest: str) -> None:
        """Delete a cell's scratch folder, if there is one."""
        shutil.rmtree(self.scratch(key, digest), ignore_errors=True)

    def discard(self, key: str, digest: str) -> None:
        """Take a cell's manifest away, so that it counts as unfinished."""
        path = self.path(key, digest) / MANIFEST
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error


def _check_name(name: str) -> None:
    if not _FILE_NAME.fullmatch(name) or name in ("arrays", "record", "manifest"):
        raise ArgumentError(
            f"a frame's name becomes a file name: letters, digits, '_', '-' and '.' only; got {name!r}."
        )


def _encode_arrays(arrays: Mapping[str, Any]) -> bytes:
    """Npz bytes that depend on the arrays alone; object arrays are refused."""
    host = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in host.items():
        if array.dtype.kind not in "biufcSU":
            raise ArgumentError(
                f"array {name!r} has dtype {array.dtype}, which cannot be stored without pickle. "
                "Convert it, e.g. .astype('float32')."
            )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in host.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()
