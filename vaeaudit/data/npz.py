"""Arrays from a NumPy .npz archive, never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaeaudit.core.errors import (
    ArgumentError,
    DataCorruptError,
    DataEmptyError,
    DataMissingError,
    DataShapeError,
)
from vaeaudit.data.dataset import Dataset, Support, binarised, check_range, hashed_split
from vaeaudit.data.store import Folder


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive.

    Raises
    ------
    DataMissingError
        If there is no such file.
    DataCorruptError
        If it is not an archive of plain arrays; arrays of objects are refused, not unpickled.
    """
    if not path.is_file():
        raise DataMissingError(f"{path} is not a file. Give the path of a .npz archive as `data_dir`.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise DataCorruptError(f"{path} holds a single .npy array; save it with np.savez(path, x=array).")
        with loaded as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataCorruptError):
            raise
        raise DataCorruptError(
            f"{path} is not a readable .npz archive of plain arrays ({error}). Write it with np.savez from "
            "numeric arrays; arrays of objects are never unpickled."
        ) from error


def load_npz(
    form: str,
    *,
    data_dir: Folder = None,
    key: str | None = None,
    label_key: str | None = None,
    split: Sequence[float] = (0.8, 0.1, 0.1),
) -> Dataset:
    """Load one array (N, *event) of an .npz archive and split it.

    Parameters
    ----------
    form
        ``"grey"``: in [0, 1], or uint8 to be divided by 255. ``"binary"``: the same, thresholded at ½.
        ``"real"``: any finite numbers, as they are.
    data_dir
        Path of the archive.
    key
        Name of the array; may be omitted where only one has two axes or more.
    label_key
        Name of the integer labels (N,), if any.
    split
        Shares or counts of train, validation and test; the order is fixed by hashes.

    Returns
    -------
    Dataset
        The data in float32.

    Raises
    ------
    ArgumentError, DataMissingError, DataCorruptError, DataEmptyError, DataShapeError, DataRangeError
    """
    if data_dir is None:
        raise ArgumentError(
            "data set 'npz' needs the archive's path: load_data('npz', data_dir='faces.npz')."
        )
    path = Path(data_dir).expanduser()
    arrays = read_npz(path)
    found = ", ".join(f"{name} {array.dtype}{array.shape}" for name, array in arrays.items()) or "nothing"
    if key is None:
        candidates = [name for name, array in arrays.items() if array.ndim >= 2]
        if len(candidates) != 1:
            raise ArgumentError(f"`key` must say which array of {path.name} to use; it holds {found}.")
        key = candidates[0]
    for name in (key, label_key):
        if name is not None and name not in arrays:
            raise ArgumentError(f"{path.name} has no array {name!r}; it holds {found}.")
    x = as_pixels(arrays[key], form, f"{path.name}[{key!r}]")
    labels = None if label_key is None else arrays[label_key]
    if labels is not None and labels.shape != (len(x),):
        raise DataShapeError(f"`{label_key}` must have shape ({len(x)},); got {labels.shape}.")
    parts = hashed_split("npz", len(x), split)
    named = [None] * 3 if labels is None else [labels[part].astype(np.int32) for part in parts]
    return Dataset(
        name=path.stem,
        form=form,
        support=support_of(form),
        train=x[parts[0]],
        validation=x[parts[1]],
        test=x[parts[2]],
        train_labels=named[0],
        validation_labels=named[1],
        test_labels=named[2],
        source=f"array {key!r} of {path.name}",
    )


def support_of(form: str) -> Support:
    """Support of the data in a form."""
    supports: dict[str, Support] = {"binary": "binary", "real": "real"}
    return supports.get(form, "unit interval")


def as_pixels(array: np.ndarray, form: str, name: str) -> np.ndarray:
    """Float32 values in the range of ``form``; uint8 is divided by 255."""
    if array.ndim < 2:
        raise DataShapeError(f"`{name}` must be (N, *event) with at least two axes; got shape {array.shape}.")
    if array.size == 0:
        raise DataEmptyError(f"`{name}` is empty: shape {array.shape}.")
    if array.dtype.kind not in "biuf":
        raise DataShapeError(f"`{name}` must hold real numbers; got dtype {array.dtype}.")
    if form == "real":
        x = array.astype(np.float32)
        check_range(name, x, "real")
        return x
    x = array.astype(np.float32) / np.float32(255.0) if array.dtype == np.uint8 else array.astype(np.float32)
    check_range(name, x, "unit interval")
    return binarised(x) if form == "binary" else x
