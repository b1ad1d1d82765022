"""Frey faces: 1,965 grey video frames 28×20 of one face."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaeaudit.core.errors import DataCorruptError, DataShapeError
from vaeaudit.data.dataset import Dataset, binarised, hashed_split
from vaeaudit.data.npz import read_npz
from vaeaudit.data.store import Folder, check_sha256, fetch, find_file, search_folders

SOURCE = "Frey faces, B. J. Frey, collected by S. T. Roweis, https://cs.nyu.edu/~roweis/data.html."
MIRRORS = ("https://cs.nyu.edu/~roweis/data/frey_rawface.mat",)
SHAPE = (1965, 28, 20)
SIZES = (1565, 200, 200)
# sha256 of the pixels, uint8 in the order (frame, row, column)
SHA256 = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"
_NAMES = ("freyfaces.npz", "frey_faces.npz", "frey_rawface.mat")


def read_pixels(path: Path) -> np.ndarray:
    """Frames (1965, 28, 20), uint8, from the .npz (``images``) or the published .mat (``ff``).

    Raises
    ------
    DataCorruptError, DataShapeError, ChecksumError
    """
    if path.suffix == ".mat":
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        try:
            arrays = loadmat(path)
        except (MatReadError, ValueError, OSError, TypeError) as error:
            raise DataCorruptError(f"{path} is not a MATLAB file ({error}): fetch it again.") from error
        pixels = arrays.get("ff")
        pixels = None if pixels is None else pixels.T.reshape(-1, 28, 20)
    else:
        pixels = read_npz(path).get("images")
    if pixels is None:
        raise DataCorruptError(f"{path} lacks the array: `images` in an .npz, `ff` in the published .mat.")
    if pixels.shape != SHAPE or pixels.dtype != np.uint8:
        raise DataShapeError(f"{path} must hold uint8 {SHAPE}; got {pixels.dtype} {pixels.shape}.")
    check_sha256(f"the pixels of {path}", np.ascontiguousarray(pixels).tobytes(), SHA256)
    return pixels


def load_frey_faces(form: str, *, data_dir: Folder = None, download: bool = True) -> Dataset:
    """Load the Frey faces: ``grey`` (value / 255) or ``binary`` (value ≥ 128).

    Parameters
    ----------
    form
        ``"grey"`` or ``"binary"``.
    data_dir
        Folder that holds ``freyfaces.npz`` or ``frey_rawface.mat``, itself or in ``freyfaces/``.
    download
        Whether to fetch the file if it is missing.

    Returns
    -------
    Dataset
        1,565 / 200 / 200 data of shape (28, 20), in an order fixed by hashes.

    Raises
    ------
    DataMissingError, DataCorruptError, DataShapeError, ChecksumError

    Notes
    -----
    The frames come from one video, so that a random split leaves near-copies of test frames among
    the training data: held-out scores say little about other faces.
    """
    folders = search_folders(data_dir)
    path = find_file(
        folders, [f"{sub}{name}" for sub in ("freyfaces/", "frey_faces/", "") for name in _NAMES]
    )
    if path is None:
        path = fetch(
            MIRRORS,
            "frey_faces/frey_rawface.mat",
            _verify,
            download=download,
            by_hand=(
                f"To supply the faces by hand, put frey_rawface.mat from {SOURCE.split()[-1]} into a folder "
                "and name it with data_dir=…, --data-dir or VAEAUDIT_DATA_DIR. Looked in: "
                + ", ".join(map(str, folders))
                + "."
            ),
        )
    grey = read_pixels(path).astype(np.float32) / np.float32(255.0)
    x = grey if form == "grey" else binarised(grey)
    train, validation, test = hashed_split("frey_faces", len(x), SIZES)
    return Dataset(
        name="frey_faces",
        form=form,
        support="unit interval" if form == "grey" else "binary",
        train=x[train],
        validation=x[validation],
        test=x[test],
        source=SOURCE,
    )


def _verify(path: Path) -> None:
    read_pixels(path)
