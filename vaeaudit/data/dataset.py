"""What a data set is here: three splits, their support, and the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from vaeaudit.core.errors import ArgumentError, DataEmptyError, DataRangeError, DataShapeError

Support = Literal["binary", "unit interval", "real"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test data, float32 of shape (N, *event), with what is known about them.

    ``labels`` are class indices (N,) where the data have classes; ``factors`` are the indices of the
    generating factors (N, F), named by ``factor_names``, where they are known. ``truth`` is the
    generating model where there is one. ``sha256`` hashes all arrays (see `content_sha256`).
    Arrays are read-only.
    """

    name: str
    form: str
    support: Support
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    validation_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    train_factors: np.ndarray | None = None
    validation_factors: np.ndarray | None = None
    test_factors: np.ndarray | None = None
    factor_names: tuple[str, ...] = ()
    sha256: str = ""
    source: str = ""
    truth: Any = None

    def __post_init__(self) -> None:
        for split in SPLITS:
            _check_split(self, split)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value = value.view()  # the caller's own array stays writable
                value.setflags(write=False)
                object.__setattr__(self, field.name, value)
        if not self.sha256:
            object.__setattr__(self, "sha256", content_sha256(self))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one datum."""
        return self.train.shape[1:]

    @property
    def event_size(self) -> int:
        """Number of elements of one datum, D."""
        return int(np.prod(self.event_shape, dtype=int))

    @property
    def pooled(self) -> np.ndarray:
        """All data: train, validation, test in that order."""
        return np.concatenate([self.train, self.validation, self.test])

    @property
    def pooled_factors(self) -> np.ndarray | None:
        """Factor indices (N, F) in the order of `pooled`; None where the factors are not known."""
        parts = [getattr(self, f"{split}_factors") for split in SPLITS]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    def __repr__(self) -> str:
        sizes = " / ".join(str(len(getattr(self, split))) for split in SPLITS)
        return (
            f"Dataset({self.name}, form={self.form!r}, event_shape={self.event_shape}, "
            f"train / validation / test = {sizes}, support={self.support!r}, sha256={self.sha256[:12]}…)"
        )


def _check_split(data: Dataset, split: str) -> None:
    x = getattr(data, split)
    where = f"{data.name}.{split}"
    if x.dtype != np.float32:
        raise ArgumentError(f"`{where}` must be float32; got {x.dtype}. Convert it before the Dataset.")
    if x.ndim < 2 or x.shape[1:] != data.train.shape[1:]:
        raise DataShapeError(
            f"`{where}` must have shape (N, *event) with the event shape of the training data, "
            f"{data.train.shape[1:]}; got {x.shape}."
        )
    if x.size == 0:
        raise DataEmptyError(
            f"`{where}` is empty (shape {x.shape}): every split needs at least one datum. Give more data "
            "or another `split`."
        )
    check_range(where, x, data.support)
    for kind in ("labels", "factors"):
        y = getattr(data, f"{split}_{kind}")
        if y is None:
            continue
        width = (len(data.factor_names),) if kind == "factors" else ()
        if y.shape != (len(x), *width) or not np.issubdtype(y.dtype, np.integer):
            raise DataShapeError(
                f"`{where}_{kind}` must be integers of shape {(len(x), *width)}; got {y.dtype} of {y.shape}."
            )


def check_range(name: str, x: np.ndarray, support: Support) -> None:
    """Raise `DataRangeError` if a value is not finite or lies outside ``support``."""
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise DataRangeError(
            f"`{name}` must be finite; {bad} of {x.size} values are NaN or infinite. Remove or impute them."
        )
    low, high = float(x.min()), float(x.max())
    if support != "real" and (low < 0.0 or high > 1.0):
        hint = " Pixels in 0…255 want division by 255." if low >= 0 and high > 1 else ""
        raise DataRangeError(f"`{name}` must lie in [0, 1]; got [{low:g}, {high:g}].{hint}")
    if support == "binary" and (share := float(np.mean((x != 0) & (x != 1)))) > 0:
        raise DataRangeError(
            f"`{name}` must hold only 0 and 1; {share:.1%} of its values lie between. "
            "Ask for form='binary', or keep the grey values with form='grey'."
        )


def content_sha256(data: Dataset) -> str:
    """Hash names, dtypes, shapes and little-endian bytes of all arrays of a data set."""
    digest = hashlib.sha256()
    for field in fields(data):
        value = getattr(data, field.name)
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
            digest.update(f"{field.name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.data)
    return digest.hexdigest()


def hashed_order(name: str, num_data: int) -> np.ndarray:
    """A permutation of range(num_data) that depends on nothing but ``name``.

    Indices are sorted by sha256("name:index"), so it is the same on every platform and with every
    version of every library.
    """
    keys = [hashlib.sha256(f"{name}:{i}".encode()).digest() for i in range(num_data)]
    return np.array(sorted(range(num_data), key=keys.__getitem__), dtype=np.int64)


def hashed_split(name: str, num_data: int, sizes: Sequence[int] | Sequence[float]) -> list[np.ndarray]:
    """Indices of train, validation and test in `hashed_order`.

    ``sizes`` are three counts, or three shares that sum to one; validation and test then get at
    least one datum each.
    """
    if len(sizes) != 3 or any(s < 0 for s in sizes):
        raise ArgumentError(f"`split` must be three sizes: train, validation, test; got {tuple(sizes)!r}.")
    if all(isinstance(s, int | np.integer) for s in sizes):
        counts = [int(s) for s in sizes]
        if sum(counts) > num_data:
            raise ArgumentError(f"`split` asks for {sum(counts)} data; {name} has {num_data}.")
    else:
        if abs(sum(sizes) - 1.0) > 1e-6:
            raise ArgumentError(f"shares in `split` must sum to 1; got {tuple(sizes)!r}.")
        held = [max(1, round(float(s) * num_data)) for s in sizes[1:]]
        counts = [num_data - sum(held), *held]
    if min(counts) < 1:
        raise DataEmptyError(
            f"{name} has {num_data} data: too few for the split {tuple(sizes)!r}, which needs at least "
            "one datum each for train, validation and test."
        )
    order = hashed_order(name, num_data)
    ends = np.cumsum(counts)
    return [order[end - count : end] for count, end in zip(counts, ends, strict=True)]


def binarised(grey: np.ndarray) -> np.ndarray:
    """Fixed binarisation: 1 where the grey value in [0, 1] is at least ½, else 0.

    Dynamic binarisation (a new Bernoulli draw at each epoch) belongs to training, not to the data.
    """
    return (grey >= 0.5).astype(np.float32)
