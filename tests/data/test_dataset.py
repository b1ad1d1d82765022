"""Splits, hashes and the checks that every data set passes."""

import hashlib

import numpy as np
import pytest

from vaeaudit.core.errors import (
    ArgumentError,
    DataEmptyError,
    DataRangeError,
    DataShapeError,
    UnknownNameError,
)
from vaeaudit.data.dataset import Dataset, binarised, hashed_order, hashed_split
from vaeaudit.data.registry import DATASETS, load_data


def make(**changes):
    x = np.linspace(0, 1, 24, dtype=np.float32).reshape(6, 2, 2)
    fields = {
        "name": "d",
        "form": "grey",
        "support": "unit interval",
        "train": x,
        "validation": x[:1],
        "test": x[:2],
    }
    return Dataset(**(fields | changes))


def test_hashed_order_is_a_permutation_fixed_for_good():
    order = hashed_order("digits", 8)
    assert sorted(order) == list(range(8))
    assert order.tolist() == sorted(
        range(8), key=lambda i: hashlib.sha256(f"digits:{i}".encode()).hexdigest()
    )
    assert order.tolist() != hashed_order("other", 8).tolist()
    assert order.tolist() != list(range(8))


@pytest.mark.parametrize("sizes", [(5, 2, 3), (0.5, 0.2, 0.3)])
def test_split_parts_are_disjoint_and_complete(sizes):
    parts = hashed_split("d", 10, sizes)
    assert [len(p) for p in parts] == [5, 2, 3]
    assert sorted(np.concatenate(parts)) == list(range(10))


def test_shares_leave_one_datum_each_for_validation_and_test():
    assert [len(p) for p in hashed_split("d", 3, (0.8, 0.1, 0.1))] == [1, 1, 1]


@pytest.mark.parametrize(
    ("num", "sizes", "error", "message"),
    [
        (10, (5, 5), ArgumentError, "three sizes"),
        (10, (5, -1, 3), ArgumentError, "three sizes"),
        (10, (0.5, 0.5, 0.5), ArgumentError, "sum to 1"),
        (10, (9, 1, 1), ArgumentError, "asks for 11"),
        (10, (10, 0, 0), DataEmptyError, "at least"),
        (2, (0.8, 0.1, 0.1), DataEmptyError, "too few"),
    ],
)
def test_impossible_splits(num, sizes, error, message):
    with pytest.raises(error, match=message):
        hashed_split("d", num, sizes)


def test_hash_follows_the_content_only():
    a, b = make(), make(source="elsewhere")
    assert a.sha256 == b.sha256
    changed = a.train.copy()
    changed[0, 0, 0] = 0.5
    assert make(train=changed).sha256 != a.sha256
    flat = {"train": a.train.reshape(6, 4), "validation": a.validation.reshape(1, 4)}
    assert make(**flat, test=a.test.reshape(2, 4)).sha256 != a.sha256
    assert make(test_labels=np.zeros(2, np.int32)).sha256 != a.sha256


def test_shapes_pooling_and_read_only():
    data = make()
    assert data.event_shape == (2, 2)
    assert data.event_size == 4
    assert data.pooled.shape == (9, 2, 2)
    assert data.pooled_factors is None
    with pytest.raises(ValueError, match="read-only"):
        data.train[0] = 0
    own = data.train.copy()
    make(train=own)
    own[0] = 0  # the caller's array is not locked
    assert "train / validation / test = 6 / 1 / 2" in repr(data)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": np.zeros((6, 2, 2))}, ArgumentError, "must be float32"),
        ({"test": np.zeros((2, 3), np.float32)}, DataShapeError, "event shape"),
        ({"test": np.zeros((0, 2, 2), np.float32)}, DataEmptyError, "`d.test` is empty"),
        ({"train": np.full((6, 2, 2), 2, np.float32)}, DataRangeError, "division by 255"),
        ({"train": np.full((6, 2, 2), -1, np.float32)}, DataRangeError, r"\[0, 1\]"),
        ({"train": np.full((6, 2, 2), np.nan, np.float32)}, DataRangeError, "24 of 24"),
        ({"support": "binary"}, DataRangeError, "only 0 and 1"),
        ({"train_labels": np.zeros(5, np.int32)}, DataShapeError, "train_labels"),
        ({"train_labels": np.zeros(6)}, DataShapeError, "integers"),
        ({"train_factors": np.zeros((6, 2), np.int32), "factor_names": ("a",)}, DataShapeError, r"\(6, 1\)"),
    ],
)
def test_what_is_no_data_set(changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


def test_real_data_have_no_range():
    assert make(support="real", train=np.full((6, 2, 2), -7, np.float32)).support == "real"


def test_binarised_at_one_half():
    assert binarised(np.float32([0, 0.499, 0.5, 1])).tolist() == [0, 0, 1, 1]


def test_registry_refuses_unknown_names_forms_and_options():
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load_data("digit")
    with pytest.raises(ArgumentError, match="binary, grey; got 'rgb'"):
        load_data("digits", form="rgb")
    with pytest.raises(ArgumentError, match="no option 'size'; it takes: none"):
        load_data("digits", size=3)
    with pytest.raises(ArgumentError, match="no option 'sead'; it takes: spectrum"):
        load_data("linear_gaussian", sead=3)
    with pytest.raises(ArgumentError, match="needs no files"):
        load_data("digits", data_dir="/tmp")


def test_every_entry_can_be_imported_and_says_what_it_is():
    import importlib

    for entry in DATASETS.values():
        module, function = entry.loader.split(":")
        assert callable(getattr(importlib.import_module(module), function))
        assert entry.summary
        assert entry.forms
