"""MNIST from its four IDX files: a folder of the user's, or a checked download."""

from __future__ import annotations

import math
import struct
from functools import partial
from pathlib import Path

import numpy as np

from vaeaudit.core.errors import DataCorruptError, DataShapeError
from vaeaudit.data.dataset import Dataset, binarised
from vaeaudit.data.store import Folder, check_sha256, fetch, find_file, read_content, search_folders

SOURCE = (
    "The MNIST database of handwritten digits, Y. LeCun, C. Cortes and C. J. C. Burges, 1998; "
    "LeCun et al. (1998), Gradient-based learning applied to document recognition, Proc. IEEE 86(11)."
)
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# sha256 of the decompressed IDX files
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
NUM_TRAIN = 50_000  # the first 50,000 of the 60,000 training images; the rest are for validation
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Read an IDX array: two zero bytes, type, rank, big-endian sizes, data.

    Raises
    ------
    DataCorruptError
        If the header is not IDX's or the data are shorter or longer than it says.
    """
    if len(content) < 4 or content[:2] != b"\x00\x00" or content[2] not in _IDX_TYPES:
        raise DataCorruptError(
            f"{name} is not an IDX file: it starts with {content[:4]!r}, expected two zero bytes, a type "
            "code and a rank. If it is compressed, its name must end in .gz."
        )
    dtype, rank = np.dtype(_IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataCorruptError(
            f"{name} ends within its header: {len(content)} bytes, expected {start} or more."
        )
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataCorruptError(
            f"{name} announces an array of shape {shape}, {expected} bytes in all; it has {len(content)}. "
            "It was cut off or damaged: fetch it again."
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _verify(path: Path, name: str) -> None:
    check_sha256(f"the content of {path.name}", read_content(path), FILES[name])


def _read(name: str, folders: list[Path], download: bool) -> np.ndarray:
    candidates = [f"{sub}{name}{end}" for sub in ("mnist/", "") for end in (".gz", "")]
    path = find_file(folders, candidates)
    if path is None:
        path = fetch(
            [f"{mirror}{name}.gz" for mirror in MIRRORS],
            f"mnist/{name}.gz",
            partial(_verify, name=name),
            download=download,
            by_hand=(
                f"To supply MNIST by hand, put {', '.join(FILES)} (with or without .gz) into a folder and "
                "name it with data_dir=…, --data-dir or VAEAUDIT_DATA_DIR. Looked in: "
                + ", ".join(map(str, folders))
                + "."
            ),
        )
    content = read_content(path)
    array = parse_idx(content, str(path))
    check_sha256(f"the content of {path}", content, FILES[name])
    return array


def load_mnist(form: str, *, data_dir: Folder = None, download: bool = True) -> Dataset:
    """Load MNIST: ``grey`` (value / 255) or ``binary`` (value ≥ 128).

    Parameters
    ----------
    form
        ``"binary"`` or ``"grey"``.
    data_dir
        Folder that holds the IDX files, compressed or not, itself or in ``mnist/``.
    download
        Whether to fetch missing files.

    Returns
    -------
    Dataset
        50,000 / 10,000 / 10,000 data of shape (28, 28) in the published order, with labels.

    Raises
    ------
    DataMissingError, DataCorruptError, ChecksumError

    Notes
    -----
    The binary form is a fixed threshold, neither the stochastic binarisation of Salakhutdinov and
    Murray (2008) nor the published fixed one of Larochelle and Murray (2011): log-likelihoods on
    those are not comparable with log-likelihoods on this.
    """
    folders = search_folders(data_dir)
    arrays = {name: _read(name, folders, download) for name in FILES}
    train, train_y, test, test_y = (arrays[name] for name in FILES)
    if train.shape != (60_000, 28, 28) or test.shape != (10_000, 28, 28):
        raise DataShapeError(
            f"MNIST must be (60000, 28, 28) and (10000, 28, 28); got {train.shape}, {test.shape}."
        )

    def prepared(pixels: np.ndarray) -> np.ndarray:
        grey = pixels.astype(np.float32) / np.float32(255.0)
        return grey if form == "grey" else binarised(grey)

    return Dataset(
        name="mnist",
        form=form,
        support="unit interval" if form == "grey" else "binary",
        train=prepared(train[:NUM_TRAIN]),
        validation=prepared(train[NUM_TRAIN:]),
        test=prepared(test),
        train_labels=train_y[:NUM_TRAIN].astype(np.int32),
        validation_labels=train_y[NUM_TRAIN:].astype(np.int32),
        test_labels=test_y.astype(np.int32),
        source=SOURCE,
    )
