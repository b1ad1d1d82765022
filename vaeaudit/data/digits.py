"""The 1,797 handwritten 8×8 digits that scikit-learn ships: real images, no download."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vaeaudit.core.errors import ChecksumError, DataMissingError
from vaeaudit.data.dataset import Dataset, binarised, hashed_split

SIZES = (1297, 200, 300)
SOURCE = (
    "Optical Recognition of Handwritten Digits (test part), E. Alpaydin and C. Kaynak, UCI Machine "
    "Learning Repository, 1998, doi:10.24432/C50P49; as shipped with scikit-learn."
)
# sha256 of the 1,797 × 64 pixel values 0…16 as uint8, in scikit-learn's order
RAW_SHA256 = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
# sha256 of each form's arrays, as in Dataset.sha256
SHA256 = {
    "binary": "57761e0663b8c61b2347d3220cc281634ad32ae96ca86b8713efab880bf242a6",
    "grey": "d0e7e2a577eb532b4a7988b3d16d890784dd38628685f4eb950187efd5c764b6",
}


def load_digits(form: str) -> Dataset:
    """Load the digits: ``binary`` (value ≥ 8 of 16) or ``grey`` (value / 16).

    Parameters
    ----------
    form
        ``"binary"`` or ``"grey"``.

    Returns
    -------
    Dataset
        1,297 / 200 / 300 data of shape (8, 8) with class labels, in an order fixed by hashes.

    Raises
    ------
    DataMissingError
        If the installed scikit-learn lacks the file.
    ChecksumError
        If the installed scikit-learn ships other digits, or the prepared arrays differ.
    """
    pixels, labels = _bundled()
    if (found := hashlib.sha256(pixels.tobytes()).hexdigest()) != RAW_SHA256:
        raise ChecksumError(
            f"the digits of the installed scikit-learn have sha256 {found}; expected {RAW_SHA256}. "
            "Another version may have changed them; install scikit-learn>=1.5,<2."
        )
    grey = pixels.astype(np.float32) / 16.0
    x = grey if form == "grey" else binarised(grey)
    train, validation, test = hashed_split("digits", len(x), SIZES)
    data = Dataset(
        name="digits",
        form=form,
        support="unit interval" if form == "grey" else "binary",
        train=x[train],
        validation=x[validation],
        test=x[test],
        train_labels=labels[train],
        validation_labels=labels[validation],
        test_labels=labels[test],
        source=SOURCE,
    )
    if data.sha256 != SHA256[form]:
        raise ChecksumError(
            f"digits in form {form!r} have sha256 {data.sha256}; expected {SHA256[form]}. "
            "The preparation gave other numbers on this platform; please report it."
        )
    return data


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (1797, 8, 8) and labels, from the file itself: importing sklearn.datasets takes a second."""
    package = find_spec("sklearn")
    folder = Path(package.origin).parent if package and package.origin else Path()
    file = folder / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        raise DataMissingError(
            f"the digits come with scikit-learn as {file}, which is not there. Install scikit-learn>=1.5,<2."
        )
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table[:, :64].astype(np.uint8).reshape(-1, 8, 8), table[:, 64].astype(np.int32)
